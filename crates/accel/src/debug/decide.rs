//! Decides whether a debug exit belongs to the user's debugger or to the guest.

use super::{BreakpointKind, Breakpoints};
use kvm_accel_kvm::run::DebugExit;
use kvm_accel_kvm::state::{Exception, VcpuState};
use serde::{Deserialize, Serialize};

/// #DB, vector 1.
const DB: u32 = 1;
/// DR6.BS: a single step.
const DR6_BS: u64 = 1 << 14;
/// The bits of DR6 that report the cause of a #DB: B0 to B3, BD, BS and BT. The other bits are fixed, some to 1.
const DR6_CAUSES: u64 = 0xe00f;

/// Why the guest stopped for the debugger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DebugReason {
    /// A single step has completed.
    Step,
    /// The guest reached a breakpoint. Its instruction has not executed yet.
    Breakpoint,
    /// The guest made an access that a watchpoint covers. The access has completed.
    Watchpoint,
}

impl DebugReason {
    /// Returns the name that users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Breakpoint => "breakpoint",
            Self::Watchpoint => "watchpoint",
        }
    }
}

/// The reason, and the address that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugCause {
    /// The reason.
    pub reason: DebugReason,
    /// The breakpoint's or watchpoint's linear address. After a step, the instruction pointer.
    pub address: u64,
}

/// A stop of one vCPU for the debugger, which stops all vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugStop {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// The cause.
    pub cause: DebugCause,
    /// The vCPU's instruction pointer.
    pub rip: u64,
}

/// Returns the cause if the exit belongs to the user's debugger. Returns `None` if the guest must receive its
/// exception.
///
/// The kind of a hardware breakpoint comes from our own list, because kernels that emulate leave DR7 0 at the exit.
#[must_use]
pub fn decide(exit: &DebugExit, stepping: bool, breakpoints: &Breakpoints) -> Option<DebugCause> {
    let ours = |reason, address| Some(DebugCause { reason, address });
    if exit.exception != DB {
        return breakpoints.is_software(exit.pc).then_some(()).and_then(|()| ours(DebugReason::Breakpoint, exit.pc));
    }
    if exit.dr6 & DR6_BS != 0 && stepping {
        return ours(DebugReason::Step, exit.pc);
    }
    let hit = breakpoints.hardware().iter().enumerate().find(|(n, _)| exit.dr6 >> n & 1 != 0);
    hit.and_then(|(_, breakpoint)| match breakpoint.kind {
        BreakpointKind::Write | BreakpointKind::Access => ours(DebugReason::Watchpoint, breakpoint.address),
        BreakpointKind::Software | BreakpointKind::Hardware => ours(DebugReason::Breakpoint, breakpoint.address),
    })
}

/// Returns the registers of a vCPU that receives its own exception back. With exception payloads, a #DB carries its
/// causes and DR6 changes at delivery. Without them, DR6 changes now.
pub fn reinjected(mut state: VcpuState, exit: &DebugExit, payloads: bool) -> VcpuState {
    let causes = exit.dr6 & DR6_CAUSES;
    let debug = exit.exception == DB;
    if debug && !payloads {
        state.debug.dr6 = state.debug.dr6 & !DR6_CAUSES | causes;
    }
    state.events.exception = Some(Exception {
        vector: u8::try_from(exit.exception).unwrap_or(u8::MAX),
        injected: !payloads,
        error_code: None,
        payload: (debug && payloads).then_some(causes),
    });
    state
}

#[cfg(test)]
mod tests {
    use super::super::{Breakpoint, breakpoints::ByteMemory};
    use super::*;

    struct AnyMemory;

    impl ByteMemory for AnyMemory {
        fn read(&mut self, _: u64) -> Option<u8> {
            Some(0x90)
        }
        fn write(&mut self, _: u64, _: u8) -> bool {
            true
        }
    }

    const BP: u32 = 3;

    fn exit(exception: u32, dr6: u64) -> DebugExit {
        DebugExit { exception, pc: 0x1234, dr6, dr7: 0 }
    }

    fn list() -> Breakpoints {
        let mut list = Breakpoints::default();
        for (kind, address, length) in [
            (BreakpointKind::Hardware, 0x1234, 1),
            (BreakpointKind::Write, 0x2000, 4),
            (BreakpointKind::Access, 0x3000, 8),
            (BreakpointKind::Software, 0x1234, 1),
        ] {
            list.insert(Breakpoint { kind, address, length }, &mut AnyMemory).unwrap();
        }
        list
    }

    #[test]
    fn test_step_is_ours_only_while_stepping() {
        let none = Breakpoints::default();
        let step = DebugCause { reason: DebugReason::Step, address: 0x1234 };
        assert_eq!(decide(&exit(1, 0xffff_4ff0), true, &none), Some(step));
        assert_eq!(decide(&exit(1, 0xffff_4ff0), false, &none), None);
        assert_eq!(decide(&exit(1, 0xffff_4ff0), false, &list()), None);
    }

    #[test]
    fn test_registers_of_ours_decide_by_their_kind_and_others_are_the_guests() {
        let cause = |dr6| decide(&exit(1, dr6), false, &list());
        let of = |reason, address| Some(DebugCause { reason, address });
        assert_eq!(cause(0xffff_0ff1), of(DebugReason::Breakpoint, 0x1234));
        assert_eq!(cause(0xffff_0ff2), of(DebugReason::Watchpoint, 0x2000));
        assert_eq!(cause(0xffff_0ff4), of(DebugReason::Watchpoint, 0x3000));
        assert_eq!(cause(0xffff_0ff8), None, "register 3 is not ours");
        assert_eq!(cause(0xffff_2ff0), None, "general detect");
        assert_eq!(decide(&exit(1, 0xffff_0ff1), false, &Breakpoints::default()), None);
    }

    #[test]
    fn test_int3_is_ours_where_we_put_it() {
        let ours = DebugCause { reason: DebugReason::Breakpoint, address: 0x1234 };
        assert_eq!(decide(&exit(BP, 0), false, &list()), Some(ours));
        assert_eq!(decide(&DebugExit { pc: 0x1235, ..exit(BP, 0) }, false, &list()), None);
        assert_eq!(decide(&exit(BP, 0xffff_4ff1), true, &Breakpoints::default()), None);
    }

    #[test]
    fn test_reinjection_carries_the_causes_and_no_fixed_bits() {
        let state = reinjected(VcpuState::default(), &exit(1, 0xffff_4ff1), true);
        let db = Exception { vector: 1, injected: false, error_code: None, payload: Some(0x4001) };
        assert_eq!((state.events.exception, state.debug.dr6), (Some(db), 0));
        let older = reinjected(VcpuState::default(), &exit(1, 0xffff_4ff1), false);
        assert_eq!(
            (older.events.exception, older.debug.dr6),
            (Some(Exception { injected: true, payload: None, ..db }), 0x4001)
        );
        let int3 = reinjected(VcpuState::default(), &exit(BP, 0xffff_4ff1), true);
        assert_eq!(
            int3.events.exception,
            Some(Exception { vector: 3, injected: false, error_code: None, payload: None })
        );
    }
}
