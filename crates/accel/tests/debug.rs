//! Tests breakpoints and steps in real guests. Unit tests cover the breakpoints that a host's KVM does not support.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::debug::{Breakpoint, BreakpointKind, BreakpointProblem, DebugCause, DebugReason, DebugStop};
use kvm_accel::properties::NotifyProperties;
use kvm_accel::{Error, Request, StopReason};
use support::{ENTRY, Guest, kvm};
use vm_memory::{Bytes, GuestAddress};

/// `inc ax` four times, `out 0x64, al`, `jmp .`.
const CODE: [u8; 8] = [0x40, 0x40, 0x40, 0x40, 0xe6, 0x64, 0xeb, 0xfe];

const fn at(kind: BreakpointKind, address: u64) -> Breakpoint {
    Breakpoint { kind, address, length: 1 }
}

fn stop(reason: DebugReason, rip: u64) -> StopReason {
    StopReason::Debug(DebugStop { vcpu: 0, cause: DebugCause { reason, address: rip }, rip })
}

/// QEMU's emulated SVM, the second test host, does not arm breakpoints that are set from outside.
fn arms_breakpoints() -> bool {
    let emulated = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
    if emulated {
        println!("skipped: an emulated host does not arm breakpoints");
    }
    !emulated
}

fn rax(guest: &Guest) -> u64 {
    guest.vcpus.state(0).unwrap().registers.general[0]
}

#[test]
fn test_steps_execute_one_instruction_each_and_a_resume_none() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&CODE, NotifyProperties::default());
    assert!(guest.vcpus.supports_guest_debug());
    for done in 1..=4 {
        guest.vcpus.prepare_step(0).unwrap();
        guest.vcpus.resume_only(0);
        assert_eq!(guest.stopped(), stop(DebugReason::Step, ENTRY + done));
        assert_eq!(rax(&guest), done);
    }
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset), "the step has ended");
    guest.vcpus.reset().unwrap();
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    assert_eq!(guest.stopped(), stop(DebugReason::Step, ENTRY + 1));
}

#[test]
fn test_step_uses_changed_registers() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&CODE, NotifyProperties::default());
    let mut state = guest.vcpus.state(0).unwrap();
    (state.registers.rip, state.registers.general[0]) = (ENTRY + 3, 0x40);
    guest.vcpus.set_state(0, state, kvm_accel::state::Level::Runtime).unwrap();
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    assert_eq!(guest.stopped(), stop(DebugReason::Step, ENTRY + 4));
    assert_eq!(rax(&guest), 0x41);
}

#[test]
fn test_execute_breakpoint_stops_before_its_instruction_and_a_step_leaves_it() {
    if !kvm() || !arms_breakpoints() {
        return;
    }
    let guest = Guest::new(&CODE, NotifyProperties::default());
    let breakpoint = at(BreakpointKind::Hardware, ENTRY + 2);
    guest.vcpus.insert_breakpoint(0, breakpoint).unwrap();
    for _ in 0..2 {
        guest.vcpus.resume();
        assert_eq!(guest.stopped(), stop(DebugReason::Breakpoint, ENTRY + 2));
        assert_eq!(rax(&guest), 2);
    }
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    assert_eq!(guest.stopped(), stop(DebugReason::Step, ENTRY + 3));
    guest.vcpus.remove_breakpoint(0, breakpoint).unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    // The breakpoint is removed from the registers, too.
    guest.vcpus.reset().unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
}

#[test]
fn test_software_breakpoints_are_in_memory_and_a_step_lifts_them() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&CODE, NotifyProperties::default());
    let byte = |at| guest.ram.read_obj::<u8>(GuestAddress(at)).unwrap();
    for offset in [0, 1] {
        guest.vcpus.insert_breakpoint(0, at(BreakpointKind::Software, ENTRY + offset)).unwrap();
        assert_eq!(byte(ENTRY + offset), 0xcc);
    }
    guest.vcpus.prepare_step(0).unwrap();
    guest.vcpus.resume_only(0);
    assert_eq!(guest.stopped(), stop(DebugReason::Step, ENTRY + 1));
    assert_eq!((rax(&guest), byte(ENTRY), byte(ENTRY + 1)), (1, 0xcc, 0xcc));
    guest.vcpus.clear_breakpoints().unwrap();
    assert_eq!((byte(ENTRY), byte(ENTRY + 1)), (0x40, 0x40));
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    assert_eq!(rax(&guest) & 0xff, 4);
}

#[test]
fn test_refusals_name_the_problem() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&[0xeb, 0xfe], NotifyProperties::default());
    let problem = |result: kvm_accel::Result<()>| match result {
        Err(Error::Breakpoint { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    for n in 0..4 {
        guest.vcpus.insert_breakpoint(0, at(BreakpointKind::Write, 0x2000 + n)).unwrap();
    }
    let fifth = guest.vcpus.insert_breakpoint(0, at(BreakpointKind::Access, 0x3000));
    assert_eq!(problem(fifth), BreakpointProblem::TooMany);
    let away = guest.vcpus.insert_breakpoint(0, at(BreakpointKind::Software, 0x4000_0000));
    assert_eq!(problem(away), BreakpointProblem::Unreachable);
    assert_eq!(
        problem(guest.vcpus.remove_breakpoint(0, at(BreakpointKind::Hardware, 0x2000))),
        BreakpointProblem::Unknown
    );
    guest.vcpus.clear_breakpoints().unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.vcpus.prepare_step(0).unwrap_err().code(), "ERR_MACHINE_STATE");
    assert_eq!(guest.vcpus.clear_breakpoints().unwrap_err().code(), "ERR_MACHINE_STATE");
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
}

#[test]
fn test_memory_is_read_and_written_across_pages_and_refused_where_there_is_none() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&CODE, NotifyProperties::default());
    assert_eq!(guest.vcpus.read_memory(Some(0), ENTRY, 8).unwrap(), CODE);
    let bytes: Vec<u8> = (0..=255).cycle().take(9000).collect();
    guest.vcpus.write_memory(Some(0), 0x2ffe, bytes.clone()).unwrap();
    assert_eq!(guest.vcpus.read_memory(None, 0x2ffe, 9000).unwrap(), bytes);
    let end = 1 << 20;
    assert_eq!(guest.vcpus.read_memory(Some(0), end - 2, 4), Err(Error::GuestMemory { address: end }));
    assert_eq!(guest.vcpus.read_memory(None, end - 2, 4), Err(Error::GuestMemory { address: end }));
    assert_eq!(guest.vcpus.write_memory(None, u64::MAX, vec![0]).unwrap_err().code(), "ERR_GUEST_MEMORY");
    assert_eq!(guest.vcpus.read_memory(Some(7), 0, 1).unwrap_err().code(), "ERR_MACHINE_STATE");
}
