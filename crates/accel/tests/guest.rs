//! Tests the accelerator with real guests of a few bytes, on the host's /dev/kvm.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::properties::{NotifyPolicy, NotifyProperties};
use kvm_accel::{AccelProperties, Accelerator, Event, ExitKind, FaultKind, GuestRam, Request, StopReason};
use support::{ENTRY, Guest, kvm};
use vm_memory::GuestAddress;

/// `jmp .`
const SPIN: &[u8] = &[0xeb, 0xfe];

#[test]
fn test_port_io_reaches_the_bus_and_a_reset_request_stops() {
    if !kvm() {
        return;
    }
    let code = [
        0xe4, 0x10, // in al, 0x10
        0xe6, 0x11, // out 0x11, al
        0xe7, 0x12, // out 0x12, ax
        0xe6, 0x64, // out 0x64, al
        0xeb, 0xfe, // jmp .
    ];
    let guest = Guest::new(&code, NotifyProperties::default());
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    let expected: Vec<(bool, u64, Vec<u8>)> = vec![
        (false, 0x10, vec![0x5a]),
        (true, 0x11, vec![0x5a]),
        (true, 0x12, vec![0x5a, 0]),
        (true, 0x64, vec![0x5a]),
    ];
    assert_eq!(*guest.bus.accesses.lock().unwrap(), expected);
    assert_eq!(guest.vcpus.counters().exits(ExitKind::Io), 4);
}

#[test]
fn test_mmio_reaches_the_bus() {
    if !kvm() {
        return;
    }
    let code = [
        0xb8, 0xff, 0xff, // mov ax, 0xffff
        0x8e, 0xd8, // mov ds, ax
        0xa0, 0x20, 0x00, // mov al, [0x20]: linear 0x100010, past 1 MiB of RAM
        0xa3, 0x20, 0x00, // mov [0x20], ax
        0xe6, 0x64, // out 0x64, al
    ];
    let guest = Guest::new(&code, NotifyProperties::default());
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    let accesses = guest.bus.accesses.lock().unwrap();
    assert_eq!(accesses[0], (false, 0x10_0010, vec![0xa5]));
    assert_eq!(accesses[1], (true, 0x10_0010, vec![0xa5, 0xff]));
}

#[test]
fn test_spinning_guest_is_paused_resumed_and_ended() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SPIN, NotifyProperties::default());
    for _ in 0..50 {
        guest.vcpus.resume();
        guest.vcpus.pause();
        assert_eq!(guest.stopped(), StopReason::Paused);
    }
    guest.vcpus.resume();
    drop(guest);
}

#[test]
fn test_reset_starts_the_guest_again_from_power_on() {
    if !kvm() {
        return;
    }
    let code = [0x40, 0xe6, 0x11, 0xe6, 0x64, 0xeb, 0xfe]; // inc ax; out 0x11, al; out 0x64, al; jmp .
    let guest = Guest::new(&code, NotifyProperties::default());
    for _ in 0..20 {
        guest.vcpus.resume();
        assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
        guest.accel.reset_chips().unwrap();
        guest.vcpus.reset().unwrap();
    }
    let accesses = guest.bus.accesses.lock().unwrap();
    assert_eq!(accesses.len(), 40);
    assert!(accesses.iter().all(|(_, _, data)| data == &[1]), "ax is 0 after every reset");
}

#[test]
fn test_injected_notify_under_run_warns_once_and_continues() {
    if !kvm() {
        return;
    }
    let guest = Guest::new(SPIN, NotifyProperties::default());
    guest.vcpus.resume();
    for total in 1..=3 {
        assert!(guest.vcpus.inject_notify(0, false));
        let Event::Notify(event) = guest.next() else { panic!("not a notify event") };
        assert_eq!((event.vcpu, event.total, event.resumed, event.injected), (0, total, true, true));
        assert_eq!((event.instruction.as_str(), event.registers.rip), ("jmp short 1000h", ENTRY));
        if total == 1 {
            assert!(matches!(guest.next(), Event::Warning(warning) if warning.message.contains("valid context")));
        }
    }
    guest.vcpus.pause();
    assert_eq!(guest.next(), Event::Stopped(StopReason::Paused));
}

#[test]
fn test_injected_notify_with_invalid_context_or_under_internal_error_is_fatal() {
    if !kvm() {
        return;
    }
    for (policy, context_invalid, words) in
        [(NotifyPolicy::Run, true, "invalid context"), (NotifyPolicy::InternalError, false, "with valid context")]
    {
        let guest = Guest::new(SPIN, NotifyProperties { policy, ..Default::default() });
        guest.vcpus.resume();
        assert!(guest.vcpus.inject_notify(0, context_invalid));
        assert!(matches!(guest.next(), Event::Notify(event) if !event.resumed));
        let Event::Stopped(StopReason::Fault(fault)) = guest.next() else { panic!("not a fault") };
        assert_eq!((fault.kind, fault.vcpu), (FaultKind::Notify, 0));
        assert!(fault.message.contains(words), "{}", fault.message);
        assert!(
            fault.report.contains("RIP=0000000000001000") && fault.report.contains("Code=<eb> fe"),
            "{}",
            fault.report
        );
        assert!(!guest.vcpus.inject_notify(1, false), "vCPU 1 does not exist");
    }
}

#[test]
fn test_missing_device_and_other_file_are_errors_with_codes() {
    let ram = || GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    for device in ["/nonexistent", "/dev/null"] {
        let properties = AccelProperties { device: device.into(), ..Default::default() };
        assert_eq!(Accelerator::new(properties, 1, ram()).unwrap_err().code(), "ERR_KVM_UNAVAILABLE");
    }
}
