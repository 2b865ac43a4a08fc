//! vCPUs on their own threads. Decode (`kvm/run_page.rs`), decide ([`decide`]), loop (`thread.rs`) apart.

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
mod thread;

/// What `control.rs` synchronises by; its second compilation, in the tests, gets loom's.
mod sync {
    pub use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}

pub use control::Unparked;
pub use counters::Counters;
pub use notify::NotifyStatus;

use crate::cpu::msr_filter::MsrFilter;
use crate::debug::GuestDebug;
use crate::dirty::{DirtyLog, KickAll, Mode, Reaper};
use crate::event::{Event, EventSink, Fault, FaultKind, StopReason, Warning, WarningCode};
use crate::interrupts::UserIrqchip;
use crate::io::Io;
use crate::properties::NotifyProperties;
use crate::state::{Clock, Level, VcpuState};
use crate::stats::{ExitCounts, MachineStatistics};
use crate::{Bus, Error, Result, StartState};
use control::Control;
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::run::Kick;
use kvm_accel_kvm::run::NotifyInfo;
use kvm_accel_kvm::trace::Trace;
use kvm_accel_memory::GuestRam;
use kvm_accel_memory::slots::Memory;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Enough for the loop, the devices and a register report; the default of 2 MiB would only be reserved.
const STACK_SIZE: usize = 256 << 10;

/// How soon a wait for work on a vCPU thread notices that the machine ends.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// How long [`Vcpus::end`] waits for a thread before it kicks all of them again.
const KICK_AGAIN: Duration = Duration::from_millis(10);

/// A vCPU that has not run, and what a reset puts back.
pub(crate) struct PoweredVcpu {
    pub vcpu: Vcpu,
    pub power_on: Arc<VcpuState>,
    /// Where the boot protocol starts this vCPU; the others wait for INIT and SIPI.
    pub start: Option<StartState>,
}

/// The threads of vCPUs that do not exist yet. A thread starts about as slowly as a vCPU is created, so the two overlap. Dropping it
/// joins the threads.
pub(crate) struct Starting(Vec<StartingThread>);

struct StartingThread {
    vcpu: Sender<(PoweredVcpu, Arc<Shared>)>,
    thread: JoinHandle<()>,
}

impl Starting {
    /// Starts `count` threads; each waits for its vCPU.
    pub(crate) fn new(count: u32) -> Result<Self> {
        let mut this = Self(Vec::new());
        for id in 0..count {
            let (sender, vcpu) = channel();
            let trace = Trace::current();
            let thread = std::thread::Builder::new()
                .name(format!("CPU {id}/KVM"))
                .stack_size(STACK_SIZE)
                .spawn(move || {
                    let _scope = trace.enter_vcpu(id);
                    // No vCPU comes when the creation of the machine fails.
                    if let Ok((powered, shared)) = vcpu.recv() {
                        thread::VcpuThread::new(powered, shared).run();
                    }
                })
                .map_err(|e| Error::Thread { vcpu: id, errno: e.raw_os_error().unwrap_or(libc::EAGAIN) })?;
            this.0.push(StartingThread { vcpu: sender, thread });
        }
        Ok(this)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        for StartingThread { vcpu, thread } in self.0.drain(..) {
            drop(vcpu);
            // It has run no vCPU, so it has not panicked.
            let _ = thread.join();
        }
    }
}

/// What the vCPUs use of their VM.
pub(crate) struct VmParts {
    pub ram: GuestRam,
    pub memory: Memory,
    pub io: Io,
    pub clock: Clock,
    pub debug: GuestDebug,
    pub dirty: DirtyLog,
    pub msrs: MsrFilter,
    pub irqchip: Option<Arc<dyn UserIrqchip>>,
    /// Bus locks in a second; 0 for no limit.
    pub bus_lock_ratelimit: u64,
}

/// What the threads of one machine share.
pub(crate) struct Shared {
    pub control: Control,
    pub bus: Arc<dyn Bus>,
    pub sink: Arc<dyn EventSink>,
    pub ram: GuestRam,
    /// What the slots point to stays mapped while a vCPU can run.
    pub _memory: Memory,
    pub io: Io,
    pub notify: Arc<notify::Shared>,
    emulation_failures: Mutex<emulation::Failures>,
    /// When the threads were started.
    start: Instant,
    pub msrs: MsrFilter,
    /// Interrupt controllers outside the kernel.
    pub irqchip: Option<Arc<dyn UserIrqchip>>,
    /// Only where they are limited.
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

/// The vCPUs of one machine, all of them outside the guest until [`Vcpus::resume`]. Dropping it takes them out of the
/// guest and joins their threads.
pub struct Vcpus {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Until they are taken.
    statistics: Option<MachineStatistics>,
    /// Empties the dirty rings, if there are any.
    reaper: Option<Reaper>,
}

impl Vcpus {
    /// Hands each vCPU to its thread, which waits for [`Vcpus::resume`].
    pub(crate) fn start(
        mut threads: Starting,
        vcpus: Vec<PoweredVcpu>,
        bus: Arc<dyn Bus>,
        sink: Arc<dyn EventSink>,
        vm: VmParts,
        notify: notify::Shared,
    ) -> Result<Self> {
        let kicks = vcpus.iter().map(|powered| Kick::new(powered.vcpu.page().immediate_exit())).collect();
        let counts: Vec<_> = vcpus.iter().map(|_| ExitCounts::default()).collect();
        let VmParts { ram, memory, io, clock, debug, dirty, msrs, irqchip, bus_lock_ratelimit } = vm;
        let bus_locks =
            (bus_lock_ratelimit != 0).then(|| Arc::new(bus_lock::Shared::new(bus_lock_ratelimit, vcpus.len())));
        let control = Control::new(kicks);
        let shared = Arc::new(Shared {
            control,
            bus,
            sink,
            ram,
            _memory: memory,
            io,
            notify: Arc::new(notify),
            emulation_failures: Mutex::default(),
            start: Instant::now(),
            msrs,
            irqchip,
            bus_locks,
            counts: Arc::new(counts),
            clock,
            debug,
            dirty,
        });
        if let Some(irqchip) = shared.irqchip.as_deref() {
            external::attach(irqchip, &shared);
        }
        let sleepers = Arc::downgrade(&shared);
        shared.bus.on_wake(Arc::new(move || {
            if let Some(shared) = sleepers.upgrade() {
                shared.control.interrupt_all();
            }
        }));
        let vcpus_out: Arc<dyn KickAll> = Arc::clone(&shared) as _;
        shared.dirty.attach(Arc::downgrade(&vcpus_out));
        let mut this = Self { shared, threads: Vec::new(), reaper: None, statistics: None };
        for (powered, StartingThread { vcpu, thread }) in vcpus.into_iter().zip(threads.0.drain(..)) {
            let id = powered.vcpu.id();
            this.threads.push(thread);
            // The thread waits for this, and only for this.
            vcpu.send((powered, Arc::clone(&this.shared)))
                .map_err(|_| Error::Thread { vcpu: id, errno: libc::ESRCH })?;
        }
        if let Mode::Ring(_) = this.shared.dirty.mode() {
            this.reaper = Some(Reaper::start(this.shared.dirty.clone())?);
        }
        Ok(this)
    }

    /// Keeps the readers of the machine's statistics until they are taken.
    pub(crate) fn with_statistics(mut self, statistics: MachineStatistics) -> Self {
        self.statistics = Some(statistics);
        self
    }

    /// Hands over the readers of the kernel's statistics, once.
    pub fn take_statistics(&mut self) -> Option<MachineStatistics> {
        self.statistics.take()
    }

    /// What the vCPU threads count, readable without the vCPUs.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Shared { counts, notify, bus_locks, .. } = &*self.shared;
        Counters { exits: Arc::clone(counts), notify: Arc::clone(notify), bus_locks: bus_locks.clone() }
    }

    /// Lets all vCPUs enter the guest. To be called while they are stopped; does nothing while they run.
    pub fn resume(&self) {
        self.enter_guest(None);
    }

    fn enter_guest(&self, only: Option<usize>) {
        if let Err(error) = self.shared.clock.release() {
            return self.shared.sink.emit(Event::Stopped(StopReason::Fault(Fault {
                vcpu: 0,
                kind: FaultKind::State,
                message: format!("the guest's clock cannot go on: {error}"),
                report: String::new(),
            })));
        }
        self.shared.bus.resume();
        self.shared.control.resume(only);
    }

    /// The registers of vCPU `index`, changes that wait for its next entry included. The vCPUs must be stopped.
    ///
    /// # Errors
    /// [`Error::Running`], or [`Error::Kvm`] when the kernel refuses.
    pub fn state(&self, index: u32) -> Result<VcpuState> {
        self.on_thread(index, |thread| thread.state())?
    }

    /// Changes the registers of vCPU `index`, which must be stopped: at [`Level::Runtime`] when it next enters the guest, at higher
    /// levels at once. A change that the kernel refuses at that entry stops the machine.
    ///
    /// # Errors
    /// [`Error::Running`], or [`Error::Kvm`] when the kernel refuses.
    pub fn set_state(&self, index: u32, state: VcpuState, level: Level) -> Result<()> {
        self.on_thread(index, move |thread| thread.set_state(state, level))?
    }

    /// Runs `work` on the thread of a stopped vCPU, and waits for it or for the end of the machine.
    fn on_thread<T: Send + 'static>(
        &self,
        index: u32,
        work: impl FnOnce(&mut thread::VcpuThread) -> T + Send + 'static,
    ) -> Result<T> {
        let control = &self.shared.control;
        let refused = Error::Running { vcpu: index };
        let Ok(at) = usize::try_from(index) else { return Err(refused) };
        let (sender, result) = channel();
        let work = Box::new(move |thread: &mut thread::VcpuThread| {
            let done = catch_unwind(AssertUnwindSafe(|| work(thread)));
            let _ = sender.send(done.map_err(|panic| thread::panic_message(&*panic)));
        });
        if !control.work(at, work) {
            return Err(if control.has_quit() { Error::Ended } else { refused });
        }
        loop {
            match result.recv_timeout(LOOK_AROUND) {
                Ok(done) => return done.map_err(|message| Error::Panicked { vcpu: index, message }),
                Err(RecvTimeoutError::Timeout) if !control.has_quit() => {}
                // The machine has ended: the work was dropped, or its result comes too late.
                Err(_) => return Err(Error::Ended),
            }
        }
    }

    /// Asks all vCPUs to leave the guest. One [`Event::Stopped`] follows each resume, with the reason of the highest rank; false
    /// when the vCPUs are outside the guest already, so that none follows this call. Another call kicks those again that have not left.
    pub fn pause(&self) -> bool {
        self.shared.stop(StopReason::Paused).is_none()
    }

    /// The vCPUs whose threads have not stopped: for an error that names them, when a pause takes too long.
    #[must_use]
    pub fn unparked(&self) -> Vec<Unparked> {
        self.shared.control.unparked()
    }

    /// A handle that ends the vCPUs from another thread: see [`Ender::end`].
    #[must_use]
    pub fn ender(&self) -> Ender {
        Ender(Arc::downgrade(&self.shared))
    }

    /// Puts the power-on state back into every vCPU, each on its own thread. All vCPUs must be stopped.
    ///
    /// # Errors
    /// The first register state that the kernel refused; the machine is then not usable. [`Error::Running`]; [`Error::Ended`] when
    /// [`Ender::end`] is called meanwhile.
    pub fn reset(&self) -> Result<()> {
        self.shared.control.reset()
    }

    /// The drill: vCPU `index` treats its next interruption as a notify exit. False when there is no such vCPU, or it
    /// has not yet taken 64 earlier ones.
    pub fn inject_notify(&self, index: u32, context_invalid: bool) -> bool {
        self.shared.control.inject(index, NotifyInfo { context_invalid })
    }

    /// An NMI for every vCPU whose local APIC lets one through at LINT1, as QEMU's `inject-nmi`. A stopped machine takes it when it
    /// goes on; a reset forgets it.
    pub fn inject_nmi(&self) {
        self.shared.control.inject_nmi();
    }

    /// Takes all vCPUs out of the guest for good and joins their threads. Counters stay readable.
    pub fn end(&mut self) {
        // First: it may wait for a vCPU.
        self.shared.end();
        self.reaper = None;
        for thread in self.threads.drain(..) {
            let mut wait = Duration::from_micros(50);
            let mut waited = Duration::ZERO;
            while !thread.is_finished() {
                // Usually the thread ends at once, and `join` waits for less than a kick would take. Another part of the program may have
                // taken the kick's signal away meanwhile, so the kick is repeated.
                std::thread::sleep(wait);
                waited += wait;
                wait = (wait * 2).min(KICK_AGAIN);
                if waited >= KICK_AGAIN {
                    self.shared.end();
                    waited = Duration::ZERO;
                }
            }
            // A vCPU thread catches what a device panics with; there is no payload to pass on.
            let _ = thread.join();
        }
        self.shared.report_failures();
    }
}

/// Ends the vCPUs of a machine from any thread, also while another thread waits for one of them. Does not keep the machine.
#[derive(Clone)]
pub struct Ender(Weak<Shared>);

impl Ender {
    /// Takes all vCPUs out of the guest for good. Every wait for a vCPU, such as that of [`Vcpus::reset`], fails with [`Error::Ended`]. Does not wait for
    /// the threads: [`Vcpus::end`] does.
    pub fn end(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end();
        }
    }
}

impl std::fmt::Debug for Ender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ender").finish_non_exhaustive()
    }
}

impl Drop for Vcpus {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Vcpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vcpus").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

/// The state of notify exits for a machine, made when the accelerator is set up.
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

    /// A device that panics here must not keep the machine from stopping.
    fn interrupt_bus(&self) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.bus.interrupt()));
    }

    /// The last vCPU has left the guest: its time stands still from here on.
    fn stopped(&self, reason: StopReason) {
        self.clock.hold();
        self.report_failures();
        self.sink.emit(Event::Stopped(reason));
    }

    fn note_emulation_failure(&self) -> emulation::Report {
        self.emulation_failures.lock().unwrap_or_else(PoisonError::into_inner).note(self.start.elapsed())
    }

    /// Reports the emulation failures that no warning has contained so far.
    fn report_failures(&self) {
        let unreported = self.emulation_failures.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(count) = unreported {
            self.warn(WarningCode::EmulationFailure, emulation::message(count));
        }
    }

    fn warn(&self, code: WarningCode, message: String) {
        self.sink.emit(Event::Warning(Warning { code, message }));
    }
}
