//! MSRs whose accesses another thread answers. As with a [`Delegated`](super::Delegated) device, the vCPU waits for the
//! answer, and only the end of the machine does not.

use super::answers::Answers;
use kvm_accel::cpu::msr_filter::{MsrHandler, MsrRange, MsrRule, ReadAnswer, WriteAnswer};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One access of the guest, to be answered by [`DelegatedMsrs::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsrAccess {
    /// Identifies the access in its answer.
    pub id: u32,
    /// The number of the rule that delegates this access.
    pub rule: u32,
    /// The vCPU that waits.
    pub vcpu: u32,
    /// The MSR's index.
    pub index: u32,
    /// The value written; `None` for `rdmsr`.
    pub write: Option<u64>,
}

/// Called with each access, on the vCPU's thread, which waits from then on.
pub type MsrAsked = Box<dyn Fn(MsrAccess) + Send + Sync>;

/// The delegated MSRs of a machine.
pub struct DelegatedMsrs {
    answers: Answers<Option<u64>>,
    asked: MsrAsked,
}

/// Which accesses of a rule are delegated. The rule's other accesses have fixed answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// `rdmsr`.
    pub read: bool,
    /// `wrmsr`.
    pub write: bool,
}

struct Asking {
    fixed: MsrRule,
    rule: u32,
    asks: Asks,
    msrs: Arc<DelegatedMsrs>,
}

impl DelegatedMsrs {
    /// Creates MSRs that call `asked` with each delegated access.
    #[must_use]
    pub fn new(asked: MsrAsked) -> Self {
        Self { answers: Answers::default(), asked }
    }

    /// Returns a range that delegates the accesses in `asks`, under the number `rule`, and answers the others by
    /// `fixed`.
    #[must_use]
    pub fn range(self: &Arc<Self>, fixed: MsrRule, rule: u32, asks: Asks) -> MsrRange {
        MsrRange {
            index: fixed.index,
            count: fixed.count,
            reads: asks.read || fixed.read != ReadAnswer::Allow,
            writes: asks.write || fixed.write != WriteAnswer::Allow,
            handler: Arc::new(Asking { fixed, rule, asks, msrs: Arc::clone(self) }),
        }
    }

    /// Answers an access: the value read, any value for a write; `None` for a #GP.
    pub fn answer(&self, id: u32, answer: Option<u64>) {
        self.answers.answer(id, answer);
    }

    /// Closes the MSRs: from now on every access raises #GP, without a wait. This includes the accesses that wait now.
    pub fn close(&self) {
        self.answers.close();
    }

    fn ask(&self, rule: u32, vcpu: u32, index: u32, write: Option<u64>) -> Option<u64> {
        self.answers.ask(|id| (self.asked)(MsrAccess { id, rule, vcpu, index, write })).flatten()
    }
}

impl MsrHandler for Asking {
    fn read(&self, vcpu: u32, index: u32) -> Option<u64> {
        if self.asks.read { self.msrs.ask(self.rule, vcpu, index, None) } else { self.fixed.read(vcpu, index) }
    }

    fn write(&self, vcpu: u32, index: u32, value: u64) -> bool {
        if self.asks.write {
            self.msrs.ask(self.rule, vcpu, index, Some(value)).is_some()
        } else {
            self.fixed.write(vcpu, index, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn test_what_is_asked_waits_for_its_answer_and_the_rest_is_fixed() {
        let (sender, asked) = channel();
        let msrs = Arc::new(DelegatedMsrs::new(Box::new(move |access| sender.send(access).unwrap())));
        let fixed = MsrRule { index: 0x10, count: 2, read: ReadAnswer::Value(7), write: WriteAnswer::Allow };
        let range = msrs.range(fixed, 3, Asks { read: false, write: true });
        assert!(range.reads && range.writes);
        assert_eq!(range.handler.read(0, 0x11), Some(7));
        for (answer, taken) in [(Some(0), true), (None, false)] {
            let handler = Arc::clone(&range.handler);
            let writer = thread::spawn(move || handler.write(1, 0x11, 5));
            let access = asked.recv().unwrap();
            assert_eq!((access.rule, access.vcpu, access.index, access.write), (3, 1, 0x11, Some(5)));
            msrs.answer(access.id, answer);
            assert_eq!(writer.join().unwrap(), taken);
        }
    }

    #[test]
    fn test_the_end_is_a_fault() {
        let (sender, asked) = channel();
        let msrs = Arc::new(DelegatedMsrs::new(Box::new(move |access: MsrAccess| sender.send(access).unwrap())));
        let fixed = MsrRule { index: 0x10, count: 1, read: ReadAnswer::Allow, write: WriteAnswer::Allow };
        let range = msrs.range(fixed, 0, Asks { read: true, write: false });
        assert!(range.reads && !range.writes);
        let handler = Arc::clone(&range.handler);
        let reader = thread::spawn(move || handler.read(0, 0x10));
        asked.recv().unwrap();
        msrs.close();
        assert_eq!(reader.join().unwrap(), None);
        assert_eq!(range.handler.read(0, 0x10), None);
    }
}
