//! MSRs that userspace handles.

use kvm_accel::cpu::msr_filter::{MsrRange, MsrRule, ReadAnswer, WriteAnswer};
use kvm_accel_machine::devices::{Asks, DelegatedMsrs};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How accesses to a range of MSRs are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsrRuleConfig {
    /// The first MSR.
    pub index: u32,
    /// Number of MSRs.
    pub count: u32,
    /// The result of `rdmsr`.
    pub read: MsrRead,
    /// The effect of `wrmsr`.
    pub write: MsrWrite,
}

/// The result of `rdmsr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MsrRead {
    /// `allow`: the kernel handles the access.
    Allow,
    /// `fault`: the access raises a #GP.
    Fault,
    /// `ask`: the caller answers [`Event::MsrAccess`](crate::Event::MsrAccess).
    Ask,
    /// This value, as decimal text: JSON's numbers are exact up to 2^53 only.
    Value(u64),
}

/// The effect of `wrmsr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MsrWrite {
    /// The kernel handles the access.
    Allow,
    /// The write is ignored.
    Ignore,
    /// The access raises a #GP.
    Fault,
    /// The caller answers [`Event::MsrAccess`](crate::Event::MsrAccess).
    Ask,
}

impl TryFrom<String> for MsrRead {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "allow" => Ok(Self::Allow),
            "fault" => Ok(Self::Fault),
            "ask" => Ok(Self::Ask),
            other => other.parse().map(Self::Value).map_err(|_| {
                format!(
                    "invalid answer '{other}' for an MSR: expected allow, fault, ask or a decimal number below 2^64"
                )
            }),
        }
    }
}

impl From<MsrRead> for String {
    fn from(read: MsrRead) -> Self {
        match read {
            MsrRead::Allow => "allow".into(),
            MsrRead::Fault => "fault".into(),
            MsrRead::Ask => "ask".into(),
            MsrRead::Value(value) => value.to_string(),
        }
    }
}

impl MsrRuleConfig {
    /// Returns the MSR range of rule number `rule`. `msrs` forwards the accesses that the caller answers.
    pub(super) fn into_range(self, rule: u32, msrs: &Arc<DelegatedMsrs>) -> MsrRange {
        let asks = Asks { read: self.read == MsrRead::Ask, write: self.write == MsrWrite::Ask };
        let read = match self.read {
            MsrRead::Allow => ReadAnswer::Allow,
            MsrRead::Value(value) => ReadAnswer::Value(value),
            MsrRead::Fault | MsrRead::Ask => ReadAnswer::Fault,
        };
        let write = match self.write {
            MsrWrite::Allow => WriteAnswer::Allow,
            MsrWrite::Ignore => WriteAnswer::Ignore,
            MsrWrite::Fault | MsrWrite::Ask => WriteAnswer::Fault,
        };
        let fixed = MsrRule { index: self.index, count: self.count, read, write };
        if asks == Asks::default() { fixed.into() } else { msrs.range(fixed, rule, asks) }
    }
}
