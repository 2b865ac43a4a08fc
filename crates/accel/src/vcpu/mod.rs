//! Runs vCPUs on their own threads. `kvm_accel_kvm::run` decodes exits, [`decide`] decides what they lead to, and
//! `thread` loops.

mod bus_lock;
mod control;
#[cfg(test)]
mod control_tests;
mod counters;
mod debug;
pub mod decide;
mod emulation;
mod external;
#[cfg(test)]
mod loom_tests;
mod nmi;
mod notify;
#[cfg(test)]
mod panic_tests;
mod report;
mod starting;
mod thread;
mod vcpus;

/// The synchronisation types of `control`. Its second compilation, in the tests, uses loom's.
mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}

pub use control::Unparked;
pub use counters::Counters;
pub use notify::NotifyStatus;
pub(crate) use starting::{PoweredVcpu, Starting};
pub use vcpus::{Ender, Vcpus};

use crate::cpu::msr_filter::MsrFilter;
use crate::debug::GuestDebug;
use crate::dirty::{DirtyLog, KickAll};
use crate::event::{Event, EventSink, StopReason, Warning, WarningCode};
use crate::interrupts::UserIrqchip;
use crate::io::Io;
use crate::properties::NotifyProperties;
use crate::state::Clock;
use crate::stats::ExitCounts;
use crate::{Bus, Result};
use control::Control;
use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::Kick;
use kvm_accel_memory::GuestRam;
use kvm_accel_memory::slots::Memory;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The parts of the VM that the vCPUs use.
pub(crate) struct VmParts {
    pub ram: GuestRam,
    pub memory: Memory,
    pub io: Io,
    pub clock: Clock,
    pub debug: GuestDebug,
    pub dirty: DirtyLog,
    pub msrs: MsrFilter,
    pub irqchip: Option<Arc<dyn UserIrqchip>>,
    /// Maximum number of bus locks per second; 0 for no limit.
    pub bus_lock_ratelimit: u64,
}

/// State that the threads of one machine share.
pub(crate) struct Shared {
    pub control: Control,
    pub bus: Arc<dyn Bus>,
    pub sink: Arc<dyn EventSink>,
    pub ram: GuestRam,
    /// Keeps the memory behind the slots mapped while a vCPU can run.
    pub _memory: Memory,
    pub io: Io,
    pub notify: Arc<notify::Shared>,
    emulation_failures: Mutex<emulation::Failures>,
    /// When the threads were started.
    start: Instant,
    pub msrs: MsrFilter,
    /// The interrupt controllers outside the kernel, if there are any.
    pub irqchip: Option<Arc<dyn UserIrqchip>>,
    /// `Some` if bus locks are limited.
    pub bus_locks: Option<Arc<bus_lock::Shared>>,
    pub counts: Arc<Vec<ExitCounts>>,
    pub clock: Clock,
    pub debug: GuestDebug,
    pub dirty: DirtyLog,
}

impl KickAll for Shared {
    fn kick_and_wait(&self) -> Result<()> {
        self.control.kick_and_wait()
    }
}

/// Returns the notify state of a machine. Called while the accelerator is set up.
pub(crate) fn notify_shared(properties: NotifyProperties, vcpus: usize) -> notify::Shared {
    notify::Shared::new(properties, vcpus)
}

impl Shared {
    /// Stops all vCPUs; see [`Control::request_stop`].
    fn stop(&self, reason: StopReason) -> Option<Event> {
        self.interrupt_bus();
        self.control.request_stop(reason)
    }

    /// Ends all vCPUs; see [`Control::quit`].
    fn end(&self) {
        self.interrupt_bus();
        self.control.quit();
    }

    /// Notifies the bus of an interrupt. Catches a device's panic, which would otherwise prevent the machine from
    /// stopping.
    fn interrupt_bus(&self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.bus.interrupt()));
    }

    /// Stops the guest's clock and emits the stop, after the last vCPU has left the guest.
    fn stopped(&self, reason: StopReason) {
        self.clock.hold();
        self.report_failures();
        self.sink.emit(Event::Stopped(reason));
    }

    fn note_emulation_failure(&self) -> emulation::Report {
        lock(&self.emulation_failures).note(self.start.elapsed())
    }

    /// Emits a warning with the number of emulation failures that earlier warnings did not include.
    fn report_failures(&self) {
        let unreported = lock(&self.emulation_failures).take();
        if let Some(count) = unreported {
            self.warn(WarningCode::EmulationFailure, emulation::message(count));
        }
    }

    fn warn(&self, code: WarningCode, message: String) {
        self.sink.emit(Event::Warning(Warning { code, message }));
    }
}
