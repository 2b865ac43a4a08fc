//! Keeps a machine's notify state: what the host supports and how many exits occurred. Handles one notify exit.

use super::Shared as VcpuShared;
use crate::event::{Event, Fault, FaultKind, NotifyEvent, StopReason, WarningCode};
use crate::instruction::{bytes_at_rip, disassemble};
use crate::notify::{BudgetLedger, NotifyDecision, decide, message};
use crate::properties::NotifyProperties;
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::NotifyInfo;
use kvm_accel_kvm::trace::trace;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// How the notify properties took effect on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyStatus {
    /// The host supports KVM_CAP_X86_NOTIFY_VMEXIT.
    pub supported: bool,
    /// The capability is enabled for this machine.
    pub enabled: bool,
}

/// State that the vCPU threads of a machine share.
#[derive(Debug)]
pub struct Shared {
    properties: NotifyProperties,
    totals: Vec<AtomicU64>,
    warned: AtomicBool,
    ledger: Option<Mutex<BudgetLedger>>,
    start: Instant,
}

impl Shared {
    pub fn new(properties: NotifyProperties, vcpus: usize) -> Self {
        Self {
            properties,
            totals: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
            warned: AtomicBool::new(false),
            ledger: properties.budget.map(|budget| Mutex::new(BudgetLedger::new(budget))),
            start: Instant::now(),
        }
    }

    pub fn totals(&self) -> Vec<u64> {
        self.totals.iter().map(|total| total.load(Ordering::Relaxed)).collect()
    }
}

/// Counts the exit, decides and emits an event. Returns the stop reason if the machine cannot continue.
pub fn handle(shared: &VcpuShared, vcpu: &Vcpu, index: usize, info: NotifyInfo, injected: bool) -> Option<StopReason> {
    let notify = &shared.notify;
    let total = notify.totals.get(index).map_or(0, |total| total.fetch_add(1, Ordering::Relaxed) + 1);
    let over_budget = notify.ledger.as_ref().and_then(|ledger| lock(ledger).exceeded(notify.start.elapsed()));
    let decision = decide(notify.properties.policy, info, notify.warned.load(Ordering::Relaxed), over_budget);
    let text = message(vcpu.id(), info, decision, injected);

    let registers = vcpu.registers().unwrap_or_default();
    trace!(KvmNotify {
        cpu_index: vcpu.id(),
        rip: registers.rip,
        context_invalid: info.context_invalid,
        injected,
        resumed: matches!(decision, NotifyDecision::Resume { .. }),
    });
    let instruction = disassemble(&bytes_at_rip(vcpu, &registers, &shared.ram), &registers);
    shared.sink.emit(Event::Notify(Box::new(NotifyEvent {
        vcpu: vcpu.id(),
        registers,
        instruction,
        context_invalid: info.context_invalid,
        resumed: matches!(decision, NotifyDecision::Resume { .. }),
        total,
        injected,
    })));
    match decision {
        NotifyDecision::Resume { warn } => {
            if warn && !notify.warned.swap(true, Ordering::Relaxed) {
                shared.warn(WarningCode::NotifyExit, text);
            }
            None
        }
        NotifyDecision::Fail(_) => Some(StopReason::Fault(Fault {
            vcpu: vcpu.id(),
            kind: FaultKind::Notify,
            message: text,
            report: super::report::registers_and_code(vcpu, &shared.ram),
        })),
    }
}
