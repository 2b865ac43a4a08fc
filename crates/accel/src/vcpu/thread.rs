//! Runs the loop of one vCPU. This file only sequences calls; `decide.rs` makes the decisions.

use super::control::{Attention, Command, Epoch};
use super::debug::Stepping;
use super::decide::{Outcome, decide, goes_on};
use super::{PoweredVcpu, Shared, bus_lock, emulation, external, nmi, notify, report};
use crate::cpu::hypercall;
use crate::event::{Fault, FaultKind, StopReason, WarningCode};
use crate::state::{Level, StateCopy, VcpuState};
use crate::stats::ExitKind;
use crate::{Bus, Error, Request, Result, StartState};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::run::Kick;
use kvm_accel_kvm::run::{Exit, InternalError, NotifyInfo};
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
                        stop.map(|reason| self.blame(reason))
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

    /// Runs the guest until the machine stops. Returns the reason if this vCPU caused the stop. Checks exits for bus
    /// locks only with `BUS_LOCKS`.
    fn enter<const BUS_LOCKS: bool>(&mut self) -> Option<StopReason> {
        let shared = Arc::clone(&self.shared);
        let counts = shared.counts.get(self.index)?;
        let kick = shared.control.kick(self.index)?;
        trace!(KvmCpuExec {});
        let cpu_index = self.vcpu.id();
        let mut stop = match self.idle() {
            Attended::Enter => None,
            Attended::Leave(reason) => return reason,
        };
        // This loop is the hot path: I/O and MMIO exits go to the bus and back into the guest without any other check.
        while stop.is_none() {
            if BUS_LOCKS && self.vcpu.take_bus_lock() {
                bus_lock::handle(&shared, &self.vcpu, self.index);
            }
            let outcome = match self.vcpu.run() {
                Exit::Io { write, port, size, data } => {
                    counts.count(ExitKind::Io);
                    match port_io(&*shared.bus, write, port, size, data) {
                        None => continue,
                        Some(request) => Outcome::Request(request),
                    }
                }
                Exit::Mmio { write: false, addr, data } => {
                    counts.count(ExitKind::Mmio);
                    shared.bus.mmio_read(addr, data);
                    continue;
                }
                Exit::Mmio { write: true, addr, data } => {
                    counts.count(ExitKind::Mmio);
                    match shared.bus.mmio_write(addr, data) {
                        None => continue,
                        Some(request) => Outcome::Request(request),
                    }
                }
                Exit::Interrupted => {
                    counts.count(ExitKind::Interrupted);
                    kick.acknowledge();
                    match self.attend() {
                        Attended::Enter => continue,
                        Attended::Leave(reason) => return reason,
                    }
                }
                Exit::Halted => {
                    counts.count(ExitKind::Halt);
                    self.halted = true;
                    match self.idle() {
                        Attended::Enter => continue,
                        Attended::Leave(reason) => return reason,
                    }
                }
                Exit::ReadMsr { index, answer } => {
                    counts.count(ExitKind::Msr);
                    answer.read(shared.msrs.read(cpu_index, index));
                    continue;
                }
                Exit::WriteMsr { index, value, answer } => {
                    counts.count(ExitKind::Msr);
                    answer.written(shared.msrs.write(cpu_index, index, value));
                    continue;
                }
                Exit::HypervHypercall { input, parameter, status } => {
                    counts.count(ExitKind::Other);
                    *status = hypercall::status(input, parameter);
                    continue;
                }
                other => {
                    counts.count(kind(&other));
                    trace_exit(cpu_index, &other);
                    decide(other)
                }
            };
            if outcome == Outcome::Request(Request::Wake) {
                self.complete_io();
                self.asleep = true;
                match self.idle() {
                    Attended::Enter => continue,
                    Attended::Leave(reason) => return reason,
                }
            }
            stop = self.act(outcome);
        }
        stop
    }

    /// Handles pending requests. While the guest is halted or asleep, also waits for an interrupt, the wake event or a
    /// request.
    fn idle(&mut self) -> Attended {
        let shared = Arc::clone(&self.shared);
        let Some(kick) = shared.control.kick(self.index) else { return Attended::Leave(None) };
        loop {
            let ticket = kick.ticket();
            self.halted &= !external::wakes(&shared, &self.vcpu);
            let woken = self.asleep && !shared.bus.asleep();
            match self.attend() {
                Attended::Enter if woken => {
                    self.asleep = false;
                    return Attended::Leave(Some(StopReason::Guest(Request::Wake)));
                }
                Attended::Enter if self.asleep || self.halted => kick.wait(ticket, None),
                attended => return attended,
            }
        }
    }

    /// Handles the request that another thread has stored for this vCPU.
    fn attend(&mut self) -> Attended {
        if let Some(loss) = self.shared.ram.lost() {
            return Attended::Leave(Some(StopReason::Fault(report::lost_memory(&self.vcpu, loss, &self.shared.ram))));
        }
        match self.shared.control.attend(self.index) {
            Attention::Enter => {
                // The PIC may have raised this interrupt after `idle` checked for a pending one. `inject` has taken it,
                // so the next check would find none.
                self.halted &= !external::inject(&self.shared, &self.vcpu, self.index);
                Attended::Enter
            }
            Attention::Leave => {
                trace!(KvmInterruptExitRequest {});
                Attended::Leave(None)
            }
            Attention::Nmi => {
                nmi::deliver(&self.vcpu);
                self.halted = false;
                Attended::Enter
            }
            Attention::Inject(info) => match self.notify(info, true) {
                None => Attended::Enter,
                reason => Attended::Leave(reason),
            },
        }
    }

    /// Attributes a fault to guest memory that the host has lost, if there is any: the loss explains every other
    /// failure.
    fn blame(&self, reason: StopReason) -> StopReason {
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

    fn act(&mut self, outcome: Outcome) -> Option<StopReason> {
        match outcome {
            Outcome::Resume => None,
            Outcome::Request(request) => {
                self.complete_io();
                Some(StopReason::Guest(request))
            }
            Outcome::Notify(info) => self.notify(info, false),
            Outcome::Debug(exit) => self.debug(&exit).unwrap_or_else(|error| Some(self.refused(&error))),
            Outcome::InterruptWindow => {
                external::inject(&self.shared, &self.vcpu, self.index);
                None
            }
            Outcome::EndOfInterrupt(vector) => {
                if let Some(irqchip) = &self.shared.irqchip {
                    irqchip.end_of_interrupt(vector);
                }
                None
            }
            Outcome::DirtyRingFull => self.reap(),
            Outcome::InternalError(error) => self.internal_error(&error),
            Outcome::Fault(kind, message) => Some(StopReason::Fault(Fault {
                vcpu: self.vcpu.id(),
                kind,
                message: format!("vCPU {}: {message}", self.vcpu.id()),
                report: report::registers_and_code(&self.vcpu, &self.shared.ram),
            })),
        }
    }

    /// Harvests the dirty rings. A ring that stays full would stop the vCPU again at once, so an error stops the
    /// machine.
    fn reap(&self) -> Option<StopReason> {
        trace!(KvmDirtyRingFull { id: self.vcpu.id() });
        self.shared.dirty.reap().err().map(|error| self.fault(format!("the dirty ring stays full: {error}")))
    }

    fn notify(&self, info: NotifyInfo, injected: bool) -> Option<StopReason> {
        notify::handle(&self.shared, &self.vcpu, self.index, info, injected)
    }

    fn internal_error(&self, error: &InternalError) -> Option<StopReason> {
        let report = || report::internal_error(&self.vcpu, error, &self.shared.ram);
        if !goes_on(error, &self.vcpu.registers().unwrap_or_default()) {
            return Some(StopReason::Fault(report()));
        }
        let message = match self.shared.note_emulation_failure() {
            emulation::Report::Full => {
                let fault = report();
                format!("{}\n{}", fault.message, fault.report)
            }
            emulation::Report::Count(count) => emulation::message(count),
            emulation::Report::Later => return None,
        };
        self.shared.warn(WarningCode::EmulationFailure, message);
        None
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
            message: format!("vCPU {}: the changed registers were refused: {error}", self.vcpu.id()),
            report: report::registers_and_code(&self.vcpu, &self.shared.ram),
        })
    }

    /// Completes the I/O access whose exit stops this vCPU. The kernel finishes an `out` only on the next entry, and a
    /// reset must not find an unfinished one. Drops a further exit of a string instruction, because the machine is
    /// stopping.
    fn complete_io(&mut self) {
        if let Some(kick) = self.shared.control.kick(self.index) {
            kick.arm();
            let _ = self.vcpu.run();
            kick.acknowledge();
        }
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
    text.unwrap_or("a panic without a message").to_owned()
}

/// The result of [`VcpuThread::attend`].
enum Attended {
    Enter,
    Leave(Option<StopReason>),
}

/// Performs one bus access for each element, all at the same port. Stops at the first access that returns a request.
fn port_io(bus: &dyn Bus, write: bool, port: u16, size: usize, data: &mut [u8]) -> Option<Request> {
    if data.len() == size {
        // Fast path: one element, without a loop.
        if write {
            return bus.pio_write(port, data);
        }
        bus.pio_read(port, data);
        return None;
    }
    for element in data.chunks_mut(size) {
        if write {
            if let Some(request) = bus.pio_write(port, element) {
                return Some(request);
            }
        } else {
            bus.pio_read(port, element);
        }
    }
    None
}

/// Traces the details of an exit beyond its reason.
fn trace_exit(cpu_index: u32, exit: &Exit<'_>) {
    match exit {
        Exit::SystemEvent { kind } => trace!(KvmRunExitSystemEvent { cpu_index, event_type: *kind }),
        Exit::MemoryFault { flags, gpa, size } => trace!(KvmMemoryFault { start: *gpa, size: *size, flags: *flags }),
        Exit::InternalError(error) => trace!(KvmInternalError { cpu_index, suberror: error.suberror }),
        _ => {}
    }
}

const fn kind(exit: &Exit<'_>) -> ExitKind {
    match exit {
        Exit::Notify(_) => ExitKind::Notify,
        Exit::BusLock => ExitKind::BusLock,
        Exit::Shutdown => ExitKind::Shutdown,
        Exit::InternalError(_) => ExitKind::InternalError,
        _ => ExitKind::Other,
    }
}
