//! MSRs that are answered outside the kernel, by fixed answers or by JavaScript.

use kvm_accel::cpu::msr_filter::{MsrRange, MsrRule, ReadAnswer, WriteAnswer};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::devices::{Asks, DelegatedMsrs, MsrAccess};
use kvm_accel_vmm::{Event, Outbox};
use napi::bindgen_prelude::{BigInt, Either};
use napi_derive::napi;
use std::sync::Arc;

/// Who answers for a range of MSRs.
#[napi(object, object_to_js = false)]
pub struct BindingMsrRule {
    /// The first MSR.
    pub index: u32,
    /// How many.
    pub count: u32,
    /// A value, `allow`, `fault`, or `ask` for a `msr-access` event.
    pub read: Either<String, BigInt>,
    /// `allow`, `ignore`, `fault` or `ask`.
    pub write: String,
}

/// One access of the guest, which waits for `answerMsr`.
#[napi(object, object_from_js = false)]
pub struct BindingMsrAccess {
    /// Names it in the answer.
    pub id: u32,
    /// The rule that asks, by its place.
    pub rule: u32,
    /// Who waits.
    pub vcpu: u32,
    /// The MSR.
    pub index: u32,
    /// What is written; absent for a read.
    pub write: Option<BigInt>,
}

impl From<MsrAccess> for BindingMsrAccess {
    fn from(MsrAccess { id, rule, vcpu, index, write }: MsrAccess) -> Self {
        Self { id, rule, vcpu, index, write: write.map(BigInt::from) }
    }
}

/// MSRs whose accesses are events of `outbox`.
pub fn asking(outbox: &Arc<Outbox>) -> Arc<DelegatedMsrs> {
    let outbox = Arc::clone(outbox);
    Arc::new(DelegatedMsrs::new(Box::new(move |access| outbox.emit(Event::MsrAccess(access)))))
}

impl BindingMsrRule {
    /// The range of rule number `rule`; `msrs` are asked.
    pub fn into_range(self, rule: u32, msrs: &Arc<DelegatedMsrs>) -> Result<MsrRange, MachineConfigError> {
        let wrong = |what: &str| {
            MachineConfigError::new(
                "msrFilter",
                format!("There is no answer '{what}' for an MSR"),
                "See docs/reference/cpu.md.",
            )
        };
        let mut asks = Asks::default();
        let read = match self.read {
            Either::B(value) => ReadAnswer::Value(value.get_u64().1),
            Either::A(word) => match word.as_str() {
                "allow" => ReadAnswer::Allow,
                "fault" => ReadAnswer::Fault,
                "ask" => {
                    asks.read = true;
                    ReadAnswer::Fault
                }
                other => return Err(wrong(other)),
            },
        };
        let write = match self.write.as_str() {
            "allow" => WriteAnswer::Allow,
            "ignore" => WriteAnswer::Ignore,
            "fault" => WriteAnswer::Fault,
            "ask" => {
                asks.write = true;
                WriteAnswer::Fault
            }
            other => return Err(wrong(other)),
        };
        let fixed = MsrRule { index: self.index, count: self.count, read, write };
        Ok(if asks == Asks::default() { fixed.into() } else { msrs.range(fixed, rule, asks) })
    }
}
