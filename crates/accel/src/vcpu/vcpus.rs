//! The vCPUs of a machine as their owner sees them.

use super::control::Control;
use super::starting::{PoweredVcpu, Starting, StartingThread};
use super::{Counters, Shared, Unparked, VmParts, bus_lock, external, notify, thread};
use crate::dirty::{KickAll, Mode, Reaper};
use crate::event::{Event, EventSink, Fault, FaultKind, StopReason};
use crate::state::{Level, VcpuState};
use crate::stats::{ExitCounts, MachineStatistics};
use crate::{Bus, Error, Result};
use kvm_accel_kvm::run::{Kick, NotifyInfo};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Interval at which a wait for work on a vCPU thread checks whether the machine has ended.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// How long [`Vcpus::end`] waits for a thread before it kicks all threads again.
const KICK_AGAIN: Duration = Duration::from_millis(10);

/// The vCPUs of one machine, all of them outside the guest until [`Vcpus::resume`]. Dropping this value stops the vCPUs
/// for good and joins their threads.
pub struct Vcpus {
    pub(super) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The statistics readers, until [`Vcpus::take_statistics`] takes them.
    statistics: Option<MachineStatistics>,
    /// Harvests the dirty rings. `None` without dirty rings.
    reaper: Option<Reaper>,
}

impl Vcpus {
    /// Passes each vCPU to its thread, which then waits for [`Vcpus::resume`].
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
            // The thread waits for this message only.
            vcpu.send((powered, Arc::clone(&this.shared)))
                .map_err(|_| Error::Thread { vcpu: id, errno: libc::ESRCH })?;
        }
        if let Mode::Ring(_) = this.shared.dirty.mode() {
            this.reaper = Some(Reaper::start(this.shared.dirty.clone())?);
        }
        Ok(this)
    }

    /// Stores the readers of the machine's statistics until [`Vcpus::take_statistics`] takes them.
    pub(crate) fn with_statistics(mut self, statistics: MachineStatistics) -> Self {
        self.statistics = Some(statistics);
        self
    }

    /// Takes the readers of the kernel's statistics. Returns `None` after the first call.
    pub fn take_statistics(&mut self) -> Option<MachineStatistics> {
        self.statistics.take()
    }

    /// Returns the counters of the vCPU threads. They stay readable after the vCPUs have ended.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Shared { counts, notify, bus_locks, .. } = &*self.shared;
        Counters { exits: Arc::clone(counts), notify: Arc::clone(notify), bus_locks: bus_locks.clone() }
    }

    /// Lets all vCPUs enter the guest. Has no effect while they run.
    pub fn resume(&self) {
        self.enter_guest(None);
    }

    pub(super) fn enter_guest(&self, only: Option<usize>) {
        if let Err(error) = self.shared.clock.release() {
            return self.shared.sink.emit(Event::Stopped(StopReason::Fault(Fault {
                vcpu: 0,
                kind: FaultKind::State,
                message: format!("cannot resume the guest's clock: {error}"),
                report: String::new(),
            })));
        }
        self.shared.bus.resume();
        self.shared.control.resume(only);
    }

    /// Returns the registers of vCPU `index`, including changes that its next entry writes. The vCPUs must be stopped.
    ///
    /// # Errors
    /// [`Error::Running`], or [`Error::Kvm`] when the ioctl fails.
    pub fn state(&self, index: u32) -> Result<VcpuState> {
        self.on_thread(index, |thread| thread.state())?
    }

    /// Changes the registers of vCPU `index`, which must be stopped: at [`Level::Runtime`] when it next enters the
    /// guest, at higher levels at once. If the kernel rejects the change at that entry, the machine stops.
    ///
    /// # Errors
    /// [`Error::Running`], or [`Error::Kvm`] when the ioctl fails.
    pub fn set_state(&self, index: u32, state: VcpuState, level: Level) -> Result<()> {
        self.on_thread(index, move |thread| thread.set_state(state, level))?
    }

    /// Runs `work` on the thread of a stopped vCPU, and waits until the work has finished or the machine has ended.
    pub(super) fn on_thread<T: Send + 'static>(
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
                // The machine has ended: the work was dropped, or it finished too late.
                Err(_) => return Err(Error::Ended),
            }
        }
    }

    /// Requests that all vCPUs leave the guest. One [`Event::Stopped`] follows each resume, with the reason of the
    /// highest rank. Returns false if the vCPUs are already outside the guest; no event follows this call then. A
    /// repeated call kicks the vCPUs that have not left yet.
    pub fn pause(&self) -> bool {
        self.shared.stop(StopReason::Paused).is_none()
    }

    /// Returns the vCPUs whose threads have not stopped, for an error message when a pause takes too long.
    #[must_use]
    pub fn unparked(&self) -> Vec<Unparked> {
        self.shared.control.unparked()
    }

    /// Returns a handle that ends the vCPUs from another thread: see [`Ender::end`].
    #[must_use]
    pub fn ender(&self) -> Ender {
        Ender(Arc::downgrade(&self.shared))
    }

    /// Restores the power-on state of every vCPU, each on its own thread. All vCPUs must be stopped.
    ///
    /// # Errors
    /// The first register state that the kernel rejected: the machine is unusable then. [`Error::Running`].
    /// [`Error::Ended`] when [`Ender::end`] is called meanwhile.
    pub fn reset(&self) -> Result<()> {
        self.shared.control.reset()
    }

    /// Simulates a notify exit: vCPU `index` handles its next interruption as one. Returns false if `index` is unknown,
    /// or if 64 injected exits are already pending for this vCPU.
    pub fn inject_notify(&self, index: u32, context_invalid: bool) -> bool {
        self.shared.control.inject(index, NotifyInfo { context_invalid })
    }

    /// Sends an NMI to every vCPU whose local APIC accepts one at LINT1, like QEMU's `inject-nmi`. The vCPUs of a
    /// stopped machine receive it when they resume. A reset discards it.
    pub fn inject_nmi(&self) {
        self.shared.control.inject_nmi();
    }

    /// Stops all vCPUs for good and joins their threads. The counters stay readable.
    pub fn end(&mut self) {
        // Must come first: dropping the reaper may wait for a vCPU.
        self.shared.end();
        self.reaper = None;
        for thread in self.threads.drain(..) {
            let mut wait = Duration::from_micros(50);
            let mut waited = Duration::ZERO;
            while !thread.is_finished() {
                // Usually the thread ends at once, and `join` waits for less time than a kick takes. Another part of
                // the program may have consumed the kick's signal meanwhile, so the loop repeats the kick.
                std::thread::sleep(wait);
                waited += wait;
                wait = (wait * 2).min(KICK_AGAIN);
                if waited >= KICK_AGAIN {
                    self.shared.end();
                    waited = Duration::ZERO;
                }
            }
            // A vCPU thread catches the panics of devices, so `join` returns no payload to pass on.
            let _ = thread.join();
        }
        self.shared.report_failures();
    }
}

/// Ends the vCPUs of a machine from any thread, also while another thread waits for a vCPU. It does not keep the
/// machine alive.
#[derive(Clone)]
pub struct Ender(Weak<Shared>);

impl Ender {
    /// Stops all vCPUs for good. Every wait for a vCPU, such as that of [`Vcpus::reset`], fails with [`Error::Ended`].
    /// Does not wait for the threads; [`Vcpus::end`] does.
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
