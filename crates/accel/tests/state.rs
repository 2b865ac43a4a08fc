//! Tests the state of vCPUs of real guests: reading it, writing it, reading it again, and running with a written state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::properties::NotifyProperties;
use kvm_accel::state::{Level, MpState};
use kvm_accel::{Event, FaultKind, GuestRam, Registers, Request, StopReason, VcpuState};
use support::{Guest, kvm};
use vm_memory::GuestAddress;

/// `out 0x64, al; jmp .`: stops the machine.
const STOP: [u8; 4] = [0xe6, 0x64, 0xeb, 0xfe];

/// MSRs that change between two reads, also while the vCPU is stopped.
const TIME: &[u32] = &[
    0x10,        // TSC
    0xe7,        // MPERF
    0xe8,        // APERF
    0x4000_0010, // run time of Hyper-V's virtual processor
    0x4000_0020, // Hyper-V's reference time
    0x4000_0021,
];

/// Returns the state without the parts that change with time.
fn still(mut state: VcpuState) -> VcpuState {
    state.msrs.retain(|msr| !TIME.contains(&msr.index));
    if let Some(lapic) = &mut state.lapic {
        // The current count of the local APIC's timer.
        lapic[0x390..0x394].fill(0);
    }
    state
}

/// Compares part by part, so that a failure names the byte or MSR.
fn assert_same(found: &VcpuState, wanted: &VcpuState, what: &str) {
    let bytes = |found: &[u8], wanted: &[u8]| -> Vec<_> {
        found.iter().zip(wanted).enumerate().filter(|(_, (a, b))| a != b).map(|(at, (a, b))| (at, *a, *b)).collect()
    };
    assert_eq!(bytes(&found.xsave, &wanted.xsave), [], "{what}: XSAVE area");
    let lapic = |state: &VcpuState| state.lapic.clone().unwrap();
    assert_eq!(bytes(&lapic(found), &lapic(wanted)), [], "{what}: local APIC");
    let other: Vec<_> = found.msrs.iter().filter(|msr| !wanted.msrs.contains(msr)).collect();
    assert!(other.is_empty(), "{what}: {other:x?}, not {:x?}", other.iter().map(|msr| self::msr(wanted, msr.index)));
    assert_eq!(found.registers, wanted.registers, "{what}");
    assert_eq!((found.events, found.debug, found.mp_state), (wanted.events, wanted.debug, wanted.mp_state), "{what}");
    assert_eq!((&found.nested, found.xcr0, found.tsc_khz), (&wanted.nested, wanted.xcr0, wanted.tsc_khz), "{what}");
    assert!(found == wanted, "{what}: a part that this test does not name");
}

fn msr(state: &VcpuState, index: u32) -> Option<u64> {
    state.msrs.iter().find(|msr| msr.index == index).map(|msr| msr.value)
}

/// Creates a stopped machine that has run `code` in 64-bit user mode up to `out 0x64, al`. Only a written state enters that mode.
fn user_mode(code: &[u8]) -> Guest {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let guest = Guest::in_user_mode(ram, code);
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    guest
}

#[test]
fn test_state_of_64_bit_user_mode_with_sse_round_trips() {
    if !kvm() {
        return;
    }
    let code = [
        &[0x48, 0xb8][..],
        &0x1122_3344_5566_7788_u64.to_le_bytes(), // mov rax, ...
        &[0x66, 0x48, 0x0f, 0x6e, 0xc8],          // movq xmm1, rax
        &[0x66, 0x44, 0x0f, 0x6f, 0xf9],          // movdqa xmm15, xmm1
        &STOP,
    ]
    .concat();
    let guest = user_mode(&code);
    let before = guest.vcpus.state(0).unwrap();
    let registers = &before.registers;
    assert_eq!((registers.cpl(), registers.bitness(), registers.general[0]), (3, 64, 0x1122_3344_5566_7788));
    assert_eq!(registers.rip, 0x8000 + u64::try_from(code.len()).unwrap() - 2);
    // XMM1 and XMM15 in the legacy area.
    for at in [160 + 16, 160 + 15 * 16] {
        assert_eq!(before.xsave[at..at + 8], 0x1122_3344_5566_7788_u64.to_le_bytes(), "at {at}");
    }
    assert!(before.xcr0.is_none_or(|xcr0| xcr0 & 1 == 1) && before.msrs.len() > 10);
    assert_eq!(before.lapic.as_ref().map(Vec::len), Some(1024));
    assert_eq!(before.mp_state, MpState::Runnable);
    for level in [Level::Reset, Level::Full] {
        guest.vcpus.set_state(0, before.clone(), level).unwrap();
        assert_same(&still(guest.vcpus.state(0).unwrap()), &still(before.clone()), &format!("{level:?}"));
    }
    // At RUNTIME the copy is written when the guest continues. It runs `jmp .` with it.
    guest.vcpus.set_state(0, before.clone(), Level::Runtime).unwrap();
    guest.vcpus.resume();
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
    let after = guest.vcpus.state(0).unwrap();
    assert_eq!((&after.registers, &after.xsave), (registers, &before.xsave));
}

#[test]
fn test_every_part_takes_a_new_value() {
    if !kvm() {
        return;
    }
    let guest = user_mode(&STOP);
    let mut wanted = guest.vcpus.state(0).unwrap();
    wanted.registers.general = std::array::from_fn(|i| 0x0101_0101_0101_0101 * (u64::try_from(i).unwrap() + 1));
    wanted.registers.control[1] = 0xdead_b000; // CR2
    wanted.registers.gdt = (0x5000, 0x77);
    wanted.registers.idt = (0x6000, 0xfff);
    wanted.registers.cr8 = 5;
    wanted.registers.segments[4].base = 0x7fff_0000_1000; // FS
    wanted.xsave[160..160 + 256].iter_mut().zip(0..=255).for_each(|(byte, i)| *byte = i);
    wanted.xsave[512] |= 3; // XSTATE_BV: x87 and SSE are in use
    wanted.debug.addresses = [0x1000, 0x2000, 0x3000, 0x4000];
    wanted.events.nmi.masked = true;
    for msr in &mut wanted.msrs {
        match msr.index {
            0xc000_0082 | 0x176 => msr.value = 0xffff_8000_0000_1000, // LSTAR, SYSENTER_EIP
            0xc000_0102 => msr.value = 0x1234_5000,                   // KERNEL_GS_BASE
            _ => {}
        }
    }
    let lapic = wanted.lapic.as_mut().unwrap();
    lapic[0x80] = 0x50; // TPR, which CR8 shows
    lapic[0xf0..0xf2].copy_from_slice(&[0xff, 1]); // spurious vector, enabled
    guest.vcpus.set_state(0, wanted.clone(), Level::Reset).unwrap();
    let found = guest.vcpus.state(0).unwrap();
    assert_eq!(found.registers, wanted.registers);
    assert_eq!((&found.xsave, found.debug, found.events), (&wanted.xsave, wanted.debug, wanted.events));
    assert_eq!(found.msrs.len(), wanted.msrs.len());
    assert_eq!(msr(&found, 0xc000_0082), Some(0xffff_8000_0000_1000));
    assert_eq!(found.lapic.unwrap()[0xf0..0xf2], [0xff, 1]);
}

#[test]
fn test_pending_triple_fault_put_at_runtime_is_a_reset_request() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&[0xeb, 0xfe], NotifyProperties::default());
    let mut state = guest.vcpus.state(0).unwrap();
    assert!(!state.events.triple_fault);
    state.events.triple_fault = true;
    guest.vcpus.set_state(0, state.clone(), Level::Runtime).unwrap();
    assert!(guest.vcpus.state(0).unwrap().events.triple_fault, "the copy is newer");
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    assert!(!guest.vcpus.state(0).unwrap().events.triple_fault, "delivered");
    // The kernel's copy keeps the triple fault until it is cleared in the same way.
    guest.vcpus.set_state(0, state.clone(), Level::Reset).unwrap();
    assert!(guest.vcpus.state(0).unwrap().events.triple_fault);
    state.events.triple_fault = false;
    guest.vcpus.set_state(0, state, Level::Runtime).unwrap();
    guest.vcpus.resume();
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
}

#[test]
fn test_runtime_keeps_a_change_for_the_next_entry_and_reset_forgets_it() {
    if !kvm() {
        return;
    }
    // out 0x11, al; out 0x64, al
    let guest = Guest::new(&[0xe6, 0x11, 0xe6, 0x64, 0xeb, 0xfe], NotifyProperties::default());
    let mut state = guest.vcpus.state(0).unwrap();
    state.registers.general[0] = 0x77;
    guest.vcpus.set_state(0, state.clone(), Level::Runtime).unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    guest.vcpus.set_state(0, state, Level::Runtime).unwrap();
    guest.accel.reset_chips().unwrap();
    guest.vcpus.reset().unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    let written: Vec<_> = guest.bus.accesses.lock().unwrap().iter().map(|(_, port, data)| (*port, data[0])).collect();
    assert_eq!(written, [(0x11, 0x77), (0x64, 0x77), (0x11, 0), (0x64, 0)]);
}

#[test]
fn test_refused_change_stops_the_machine_with_a_dump() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&STOP, NotifyProperties::default());
    let mut state = guest.vcpus.state(0).unwrap();
    state.registers.control[3] = 1 << 63; // no such bit in CR4
    guest.vcpus.set_state(0, state.clone(), Level::Runtime).unwrap();
    guest.vcpus.resume();
    let Event::Stopped(StopReason::Fault(fault)) = guest.next() else { panic!("not a fault") };
    assert_eq!(fault.kind, FaultKind::State);
    assert!(fault.message.contains("KVM_SET_SREGS") && fault.report.contains("RIP="), "{fault:?}");
    let error = guest.vcpus.set_state(0, state, Level::Reset).unwrap_err();
    assert_eq!((error.code(), error.errno()), ("ERR_KVM_IOCTL", Some(libc::EINVAL)));
    // The rejected change was discarded. The guest runs with the kernel's state.
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
}

#[test]
fn test_registers_of_a_running_or_unknown_vcpu_are_refused() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(&[0xeb, 0xfe], NotifyProperties::default());
    assert_eq!(guest.vcpus.state(1).unwrap_err().code(), "ERR_MACHINE_STATE");
    guest.vcpus.resume();
    assert_eq!(guest.vcpus.state(0).unwrap_err().code(), "ERR_MACHINE_STATE");
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), StopReason::Paused);
    assert_ne!(guest.vcpus.state(0).unwrap().registers, Registers::default());
}
