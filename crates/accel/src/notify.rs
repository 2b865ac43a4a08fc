//! Notify VM exits: the decision, a pure function of policy, flags and history.
//!
//! It follows QEMU's table: an invalid context is always fatal; `run` warns once and continues; `internal-error` stops
//! the machine. The message reports the actual context (QEMU 10.0 reports "invalid" in every fatal one). QEMU has no
//! budget.

use crate::properties::{NotifyBudget, NotifyPolicy};
use kvm_accel_kvm::run::NotifyInfo;
use std::collections::VecDeque;
use std::time::Duration;

/// The decision for a notify exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyDecision {
    /// The guest continues.
    Resume {
        /// True for the first notify exit of this machine: emit a warning.
        warn: bool,
    },
    /// The machine stops in run state `internal-error`.
    Fail(NotifyCause),
}

/// Why a notify exit is fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyCause {
    /// KVM_NOTIFY_CONTEXT_INVALID.
    ContextInvalid,
    /// `notify-vmexit=internal-error`.
    Policy,
    /// `notify-budget` was exceeded.
    Budget(NotifyBudget),
}

/// Decides. `over_budget` is the budget if this exit exceeds it.
///
/// ```
/// use kvm_accel_kvm::run::NotifyInfo;
/// use kvm_accel::notify::{NotifyCause, NotifyDecision, decide};
/// use kvm_accel::properties::NotifyPolicy;
///
/// let valid = NotifyInfo { context_invalid: false };
/// assert_eq!(decide(NotifyPolicy::Run, valid, false, None), NotifyDecision::Resume { warn: true });
/// assert_eq!(decide(NotifyPolicy::InternalError, valid, true, None), NotifyDecision::Fail(NotifyCause::Policy));
/// ```
#[must_use]
pub const fn decide(
    policy: NotifyPolicy,
    info: NotifyInfo,
    warned_before: bool,
    over_budget: Option<NotifyBudget>,
) -> NotifyDecision {
    if info.context_invalid {
        return NotifyDecision::Fail(NotifyCause::ContextInvalid);
    }
    match (policy, over_budget) {
        (NotifyPolicy::InternalError, _) => NotifyDecision::Fail(NotifyCause::Policy),
        (NotifyPolicy::Run | NotifyPolicy::Disable, Some(budget)) => NotifyDecision::Fail(NotifyCause::Budget(budget)),
        // `disable` enables no notify exits. Only an injected one can occur here, and it resumes as in QEMU.
        (NotifyPolicy::Run | NotifyPolicy::Disable, None) => NotifyDecision::Resume { warn: !warned_before },
    }
}

/// Returns the message for the user.
#[must_use]
pub fn message(vcpu: u32, info: NotifyInfo, decision: NotifyDecision, injected: bool) -> String {
    let kind = if injected { "injected notify VM exit" } else { "notify VM exit" };
    let context = if info.context_invalid { "invalid" } else { "valid" };
    let consequence = match decision {
        NotifyDecision::Resume { .. } => {
            "the guest continues and may misbehave; further notify exits are counted, not reported".into()
        }
        NotifyDecision::Fail(NotifyCause::ContextInvalid) => {
            "KVM internal error: the guest cannot continue with an invalid context".into()
        }
        NotifyDecision::Fail(NotifyCause::Policy) => {
            "KVM internal error, because notify-vmexit=internal-error is set".into()
        }
        NotifyDecision::Fail(NotifyCause::Budget(budget)) => format!(
            "KVM internal error: more than {} notify exits within {} s, the limit of notify-budget",
            budget.exits,
            budget.window.as_secs()
        ),
    };
    format!("{kind} on vCPU {vcpu} with {context} context: {consequence}")
}

/// A machine's recent notify exits, for the budget. Holds at most as many times as the budget allows exits.
#[derive(Debug)]
pub struct BudgetLedger {
    budget: NotifyBudget,
    recent: VecDeque<Duration>,
}

impl BudgetLedger {
    /// Creates an empty ledger.
    #[must_use]
    pub const fn new(budget: NotifyBudget) -> Self {
        Self { budget, recent: VecDeque::new() }
    }

    /// Records an exit at `now` (any monotonic clock). Returns the budget if the exit exceeds it.
    pub fn exceeded(&mut self, now: Duration) -> Option<NotifyBudget> {
        while self.recent.front().is_some_and(|&then| now.saturating_sub(then) >= self.budget.window) {
            self.recent.pop_front();
        }
        if u64::try_from(self.recent.len()).unwrap_or(u64::MAX) >= self.budget.exits.get().into() {
            return Some(self.budget);
        }
        self.recent.push_back(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NotifyDecision::{Fail, Resume};

    const VALID: NotifyInfo = NotifyInfo { context_invalid: false };
    const INVALID: NotifyInfo = NotifyInfo { context_invalid: true };

    #[test]
    fn test_decision_table() {
        let budget = NotifyBudget::new(1, 1).unwrap();
        for (policy, info, warned, over, expected) in [
            (NotifyPolicy::Run, VALID, false, None, Resume { warn: true }),
            (NotifyPolicy::Run, VALID, true, None, Resume { warn: false }),
            (NotifyPolicy::Run, INVALID, false, None, Fail(NotifyCause::ContextInvalid)),
            (NotifyPolicy::Run, INVALID, true, None, Fail(NotifyCause::ContextInvalid)),
            (NotifyPolicy::Run, VALID, true, Some(budget), Fail(NotifyCause::Budget(budget))),
            (NotifyPolicy::Run, INVALID, true, Some(budget), Fail(NotifyCause::ContextInvalid)),
            (NotifyPolicy::InternalError, VALID, false, None, Fail(NotifyCause::Policy)),
            (NotifyPolicy::InternalError, VALID, true, None, Fail(NotifyCause::Policy)),
            (NotifyPolicy::InternalError, INVALID, true, None, Fail(NotifyCause::ContextInvalid)),
            (NotifyPolicy::Disable, VALID, false, None, Resume { warn: true }),
            (NotifyPolicy::Disable, INVALID, false, None, Fail(NotifyCause::ContextInvalid)),
        ] {
            assert_eq!(decide(policy, info, warned, over), expected, "{policy:?} {info:?} {warned} {over:?}");
        }
    }

    #[test]
    fn test_message_reports_the_actual_context() {
        let fatal = message(1, VALID, Fail(NotifyCause::Policy), false);
        assert!(fatal.contains("vCPU 1") && fatal.contains("with valid context"), "{fatal}");
        assert!(fatal.contains("KVM internal error"), "{fatal}");
        assert!(message(0, INVALID, Fail(NotifyCause::ContextInvalid), true).contains("with invalid context"));
        assert!(message(0, VALID, Resume { warn: true }, true).starts_with("injected"));
    }

    #[test]
    fn test_budget_counts_within_a_sliding_window() {
        let mut ledger = BudgetLedger::new(NotifyBudget::new(2, 10).unwrap());
        let mut at = |seconds| ledger.exceeded(Duration::from_secs(seconds)).is_some();
        assert!(!at(0) && !at(9));
        assert!(at(9));
        assert!(!at(10), "the exit at 0 s has left the window");
        assert!(at(18));
    }
}
