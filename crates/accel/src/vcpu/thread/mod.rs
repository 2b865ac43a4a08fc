//! Runs the loop of one vCPU. `enter` only sequences calls; `decide.rs` makes the decisions, and `outcome` acts on them.

mod enter;
mod outcome;

use super::control::{Command, Epoch};
use super::debug::Stepping;
use super::{PoweredVcpu, Shared, report};
use crate::event::{Fault, FaultKind, StopReason};
use crate::state::{Level, StateCopy, VcpuState};
use crate::{Error, Result, StartState};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::run::Kick;
use kvm_accel_kvm::trace::trace;
use kvm_accel_memory::GuestRam;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A vCPU and its thread's state. The thread owns it until the thread ends.
pub struct VcpuThread {
    pub(super) vcpu: Vcpu,
    /// The state that a reset restores.
    power_on: Arc<VcpuState>,
    start: Option<StartState>,
    /// Registers that the user has changed. The next entry writes them.
    copy: StateCopy,
    pub(super) stepping: Stepping,
    /// True while the guest waits for an interrupt outside the kernel. Without a local APIC in the kernel, the kernel
    /// leaves this wait to user space.
    halted: bool,
    /// True after the guest has requested sleep (ACPI S3). This vCPU waits for the wake event, also across pauses.
    asleep: bool,
    #[cfg(test)]
    fails_next_reset: bool,
    pub(super) shared: Arc<Shared>,
    index: usize,
}

impl VcpuThread {
    pub fn new(PoweredVcpu { vcpu, power_on, start }: PoweredVcpu, shared: Arc<Shared>) -> Self {
        let index = usize::try_from(vcpu.id()).unwrap_or(usize::MAX);
        Self {
            vcpu,
            power_on,
            start,
            copy: StateCopy::default(),
            stepping: Stepping::Off,
            halted: false,
            asleep: false,
            #[cfg(test)]
            fails_next_reset: false,
            shared,
            index,
        }
    }

    /// Parks and runs alternately until the machine is dropped. A panic ends the current command but never the thread,
    /// because the other threads would wait forever for it to park.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let kick = shared.control.kick(self.index);
        let attached = kick.map(Kick::attach);
        let loss = kick.map(|kick| shared.ram.interrupt_on_loss(kick));
        let mut epoch = Epoch::default();
        let mut has_run = false;
        loop {
            match shared.control.park(self.index, &mut epoch, |reason| shared.stopped(reason)) {
                Command::Quit => break,
                Command::Reset => {
                    let reset = catch_unwind(AssertUnwindSafe(|| self.reset()));
                    if let Err(error) = reset.unwrap_or_else(|panic| Err(self.panicked(&*panic))) {
                        shared.control.reset_failed(error);
                    }
                }
                // The caller that submitted the work receives the panic as its result.
                Command::Work(work) => drop(catch_unwind(AssertUnwindSafe(|| work(&mut self)))),
                Command::Run => {
                    let stop = catch_unwind(AssertUnwindSafe(|| {
                        if has_run {
                            self.vcpu.kvmclock_ctrl();
                        }
                        has_run = true;
                        shared.bus.complete();
                        let stop = self.debugged();
                        // Coalesced writes reach the devices before the machine reports that it has stopped.
                        shared.io.drain();
                        let stop = stop.or_else(|| shared.io.take_request().map(StopReason::Guest));
                        stop.map(|reason| self.attribute(reason))
                    }));
                    // A panic in a device stops its machine, not the process.
                    let failed = |panic: Box<dyn Any + Send>| {
                        Some(self.fault(format!("a device failed: {}", panic_message(&*panic))))
                    };
                    if let Some(reason) = stop.unwrap_or_else(failed) {
                        // The phase is Running or Stopping here, so `stop` returns no event to emit.
                        let _ = shared.stop(reason);
                    }
                }
            }
        }
        drop(loss);
        drop(attached);
        trace!(KvmDestroyVcpu { cpu_index: self.vcpu.id(), arch_cpu_id: self.vcpu.id() });
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Error {
        Error::Panicked { vcpu: self.vcpu.id(), message: panic_message(panic) }
    }

    /// Writes pending register changes, then runs or steps the guest.
    fn debugged(&mut self) -> Option<StopReason> {
        let begun = self.flush().and_then(|()| self.begin_step());
        let stop = match begun {
            Ok(()) if self.shared.bus_locks.is_some() => self.enter::<true>(),
            Ok(()) => self.enter::<false>(),
            Err(error) => Some(self.refused(&error)),
        };
        let ended = self.end_step();
        stop.or_else(|| ended.err().map(|error| self.refused(&error)))
    }

    /// Attributes a fault to guest memory that the host has lost, if there is any: the loss explains every other
    /// failure.
    fn attribute(&self, reason: StopReason) -> StopReason {
        match reason {
            StopReason::Fault(fault) if fault.kind != FaultKind::Memory => match self.shared.ram.find_loss() {
                Some(loss) => StopReason::Fault(Fault {
                    kind: FaultKind::Memory,
                    message: format!("{}; {loss}", fault.message),
                    ..fault
                }),
                None => StopReason::Fault(fault),
            },
            reason => reason,
        }
    }

    /// Returns the registers, including changes that the next entry writes.
    pub fn state(&self) -> Result<VcpuState> {
        Ok(self.copy.get(&self.vcpu)?)
    }

    /// Changes the registers: at [`Level::Runtime`] on the next entry, at higher levels at once.
    pub fn set_state(&mut self, state: VcpuState, level: Level) -> Result<()> {
        Ok(self.copy.set(&self.vcpu, state, level)?)
    }

    /// Writes pending register changes before a caller queries kernel state that depends on them.
    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.copy.flush(&self.vcpu)?)
    }

    pub(super) fn ram(&self) -> &GuestRam {
        &self.shared.ram
    }

    #[cfg(test)]
    pub(super) fn fail_next_reset(&mut self) {
        self.fails_next_reset = true;
    }

    fn reset(&mut self) -> Result<()> {
        #[cfg(test)]
        if std::mem::take(&mut self.fails_next_reset) {
            std::panic::panic_any("the reset fails");
        }
        self.copy = StateCopy::default();
        self.halted = false;
        self.asleep = false;
        self.end_step()?;
        self.vcpu.reset(&self.power_on, self.start.as_ref()).map_err(|source| Error::Reset {
            vcpu: self.vcpu.id(),
            source: Box::new(source.into()),
            report: report::registers_and_code(&self.vcpu, &self.shared.ram),
        })
    }

    /// Returns the fault for registers that the kernel rejected before an entry.
    fn refused(&self, error: &Error) -> StopReason {
        StopReason::Fault(Fault {
            vcpu: self.vcpu.id(),
            kind: FaultKind::State,
            message: format!("vCPU {}: the kernel rejected the changed registers: {error}", self.vcpu.id()),
            report: report::registers_and_code(&self.vcpu, &self.shared.ram),
        })
    }

    fn fault(&self, message: String) -> StopReason {
        let vcpu = self.vcpu.id();
        StopReason::Fault(Fault {
            vcpu,
            kind: FaultKind::Exit,
            message: format!("vCPU {vcpu}: {message}"),
            report: String::new(),
        })
    }
}

/// Returns the text of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").to_owned()
}
