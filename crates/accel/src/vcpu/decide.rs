//! Maps an exit that no device handles to its outcome: a pure function that follows QEMU's table of exit reasons.

use crate::Request;
use crate::event::FaultKind;
use kvm_accel_kvm::run::{DebugExit, Exit, InternalError, NotifyInfo, SUBERROR_EMULATION, reason_name};
use kvm_accel_kvm::state::Registers;

/// What the loop does after an exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enter the guest again.
    Resume,
    /// Pass a request to the machine.
    Request(Request),
    /// Evaluate a debug exit against the machine's breakpoints.
    Debug(DebugExit),
    /// Evaluate a notify exit against the machine's notify state.
    Notify(NotifyInfo),
    /// Inject the interrupt that waits for the interrupt window.
    InterruptWindow,
    /// Notify the IOAPIC of the end of a level-triggered interrupt.
    EndOfInterrupt(u8),
    /// Harvest the dirty rings.
    DirtyRingFull,
    /// KVM reported an internal error. Whether the guest continues depends on its registers ([`guest_continues`]).
    InternalError(InternalError),
    /// The vCPU cannot continue.
    Fault(FaultKind, String),
}

/// KVM_SYSTEM_EVENT_SHUTDOWN and KVM_SYSTEM_EVENT_RESET.
const SYSTEM_EVENT_SHUTDOWN: u32 = 1;
const SYSTEM_EVENT_RESET: u32 = 2;

/// VMX: the processor rejected the guest state.
const VMX_INVALID_GUEST_STATE: u64 = 0x8000_0021;

/// Returns the outcome of every exit except I/O, MMIO and interruptions, which the loop handles itself.
#[must_use]
pub fn decide(exit: Exit<'_>) -> Outcome {
    let fault = |message: String| Outcome::Fault(FaultKind::Exit, message);
    match exit {
        Exit::Io { .. } | Exit::Mmio { .. } | Exit::Interrupted => Outcome::Resume,
        // The kernel has stored the new state, and nothing outside of it depends on the state.
        Exit::SynicChanged => Outcome::Resume,
        // The loop handles these, like I/O. It detects a bus lock through a flag in the shared page.
        Exit::ReadMsr { .. } | Exit::WriteMsr { .. } | Exit::HypervHypercall { .. } | Exit::BusLock => Outcome::Resume,
        Exit::Halted | Exit::SetTpr | Exit::TprAccess => Outcome::Resume,
        Exit::IrqWindowOpen => Outcome::InterruptWindow,
        Exit::IoapicEoi { vector } => Outcome::EndOfInterrupt(vector),
        Exit::Shutdown => Outcome::Request(Request::Reset),
        Exit::SystemEvent { kind: SYSTEM_EVENT_SHUTDOWN } => Outcome::Request(Request::Shutdown),
        Exit::SystemEvent { kind: SYSTEM_EVENT_RESET } => Outcome::Request(Request::Reset),
        Exit::SystemEvent { kind } => fault(format!("KVM_EXIT_SYSTEM_EVENT of type {kind} is unknown on x86")),
        Exit::Debug(exit) => Outcome::Debug(exit),
        Exit::Notify(info) => Outcome::Notify(info),
        Exit::DirtyRingFull => Outcome::DirtyRingFull,
        Exit::InternalError(error) => Outcome::InternalError(error),
        Exit::FailEntry { reason, cpu } => {
            let hint = if reason == VMX_INVALID_GUEST_STATE {
                "; the guest's state is invalid for this processor (real mode without unrestricted guest?)"
            } else {
                ""
            };
            fault(format!("KVM entry failed on host CPU {cpu}, hardware reason {reason:#x}{hint}"))
        }
        Exit::UnknownHardware { reason } => fault(format!("unknown exit, hardware reason {reason:#x}")),
        Exit::Exception { vector, error_code } => {
            fault(format!("exception {vector} with error code {error_code:#x} reached the host"))
        }
        Exit::Hypercall { number } => fault(format!("hypercall {number} is not handled outside the kernel")),
        Exit::MemoryFault { flags, gpa, size } => fault(format!(
            "the host has no memory at guest physical address {gpa:#x} ({size:#x} bytes, KVM_EXIT_MEMORY_FAULT flags {flags:#x})"
        )),
        Exit::Failed(errno) => fault(format!("KVM_RUN failed: {}", kvm_accel_kvm::errno_text(errno))),
        Exit::Unknown(number) => fault(format!("KVM exit {number} ({}) is not handled", reason_name(number))),
    }
}

/// Returns whether the guest continues. An instruction of user-mode code that KVM cannot emulate is the guest's
/// problem: the guest continues, as under QEMU.
#[must_use]
pub const fn guest_continues(error: &InternalError, registers: &Registers) -> bool {
    error.suberror == SUBERROR_EMULATION && registers.protected() && registers.cs().selector & 3 == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_triple_fault_is_a_reset_request() {
        assert_eq!(decide(Exit::Shutdown), Outcome::Request(Request::Reset));
    }

    #[test]
    fn test_system_events() {
        assert_eq!(decide(Exit::SystemEvent { kind: 1 }), Outcome::Request(Request::Shutdown));
        assert_eq!(decide(Exit::SystemEvent { kind: 2 }), Outcome::Request(Request::Reset));
        assert!(matches!(decide(Exit::SystemEvent { kind: 3 }), Outcome::Fault(FaultKind::Exit, _)));
    }

    #[test]
    fn test_unknown_exit_is_a_value_with_a_name() {
        for (number, name) in [(27, "KVM_EXIT_HYPERV"), (4095, "unknown to this version")] {
            match decide(Exit::Unknown(number)) {
                Outcome::Fault(FaultKind::Exit, message) => assert!(message.contains(name), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn test_memory_fault_names_the_address() {
        let Outcome::Fault(_, message) = decide(Exit::MemoryFault { flags: 8, gpa: 0x1234_5000, size: 0x1000 }) else {
            panic!("not a fault");
        };
        assert!(message.contains("0x12345000") && message.contains("flags 0x8"), "{message}");
    }

    #[test]
    fn test_fail_entry_explains_invalid_guest_state() {
        let Outcome::Fault(_, message) = decide(Exit::FailEntry { reason: VMX_INVALID_GUEST_STATE, cpu: 3 }) else {
            panic!("not a fault");
        };
        assert!(message.contains("0x80000021") && message.contains("unrestricted"), "{message}");
    }

    #[test]
    fn test_guest_continues_after_an_emulation_failure_in_user_mode_only() {
        let error = |suberror| InternalError { suberror, data: vec![] };
        let mut user = Registers::default();
        user.control[0] = 1;
        user.segments[1].selector = 0x33;
        assert!(guest_continues(&error(1), &user));
        assert!(!guest_continues(&error(2), &user));
        assert!(!guest_continues(&error(1), &Registers::default()));
    }
}
