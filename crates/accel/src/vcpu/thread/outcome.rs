//! Acts on the outcome of an exit.

use super::VcpuThread;
use crate::event::{Fault, StopReason, WarningCode};
use crate::vcpu::decide::{Outcome, guest_continues};
use crate::vcpu::{emulation, external, notify, report};
use kvm_accel_kvm::run::{InternalError, NotifyInfo};
use kvm_accel_kvm::trace::trace;

impl VcpuThread {
    pub(super) fn act(&mut self, outcome: Outcome) -> Option<StopReason> {
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
        self.shared.dirty.reap().err().map(|error| self.fault(format!("cannot empty the dirty ring: {error}")))
    }

    pub(super) fn notify(&self, info: NotifyInfo, injected: bool) -> Option<StopReason> {
        notify::handle(&self.shared, &self.vcpu, self.index, info, injected)
    }

    fn internal_error(&self, error: &InternalError) -> Option<StopReason> {
        let report = || report::internal_error(&self.vcpu, error, &self.shared.ram);
        if !guest_continues(error, &self.vcpu.registers().unwrap_or_default()) {
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
}
