//! Enters the guest and handles its exits: the hot path of a vCPU.

use super::VcpuThread;
use crate::cpu::hypercall;
use crate::event::StopReason;
use crate::stats::ExitKind;
use crate::vcpu::control::Attention;
use crate::vcpu::decide::{Outcome, decide};
use crate::vcpu::{bus_lock, external, nmi, report};
use crate::{Bus, Request};
use kvm_accel_kvm::run::Exit;
use kvm_accel_kvm::trace::trace;
use std::sync::Arc;

impl VcpuThread {
    /// Runs the guest until the machine stops. Returns the reason if this vCPU caused the stop. Checks exits for bus
    /// locks only with `BUS_LOCKS`.
    pub(super) fn enter<const BUS_LOCKS: bool>(&mut self) -> Option<StopReason> {
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

    /// Completes the I/O access whose exit stops this vCPU. The kernel finishes an `out` only on the next entry, and a
    /// reset must not find an unfinished one. Drops a further exit of a string instruction, because the machine is
    /// stopping.
    pub(super) fn complete_io(&mut self) {
        if let Some(kick) = self.shared.control.kick(self.index) {
            kick.arm();
            let _ = self.vcpu.run();
            kick.acknowledge();
        }
    }
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
