//! Tests memory slots with a real kernel: the slots that it accepts and refuses, and the memory that a guest sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::dirty::Mode;
use kvm_accel::memory::Region;
use kvm_accel::properties::{KernelIrqchip, NotifyProperties};
use kvm_accel::trace::{Filter, Trace, TraceEvent};
use kvm_accel::{
    AccelProperties, Accelerator, Error, ExitKind, FaultKind, GuestRam, GuestRegion, RegionError, Request, StopReason,
};
use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Guest, kvm};
use vm_memory::{Bytes, FileOffset, GuestAddress, MmapRegion};

const MIB: u64 = 1 << 20;
fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

fn accelerator(ram: &GuestRam) -> Accelerator {
    Accelerator::new(AccelProperties::default(), 1, ram.clone()).unwrap()
}

/// Returns start, size and the read-only flag of each slot.
fn slots(accel: &Accelerator) -> Vec<(u64, u64, bool)> {
    accel.memory().slots().iter().map(|slot| (slot.start, slot.size, slot.read_only)).collect()
}

/// Returns the slot calls of `act`: slot, flags, start, size.
fn slot_calls(act: impl FnOnce()) -> Vec<(u32, u32, u64, u64)> {
    let trace = Trace::default();
    let session = trace.open(Filter::glob("kvm_set_user_memory"), 100);
    let scope = trace.enter();
    act();
    drop(scope);
    let calls = session.take().records.into_iter().map(|record| match record.event {
        TraceEvent::KvmSetUserMemory { slot, flags, guest_phys_addr, memory_size, .. } => {
            (slot, flags, guest_phys_addr, memory_size)
        }
        other => panic!("{other:?}"),
    });
    calls.collect()
}

#[test]
fn test_a_write_to_a_read_only_slot_is_an_mmio_exit_and_a_read_is_none() {
    if !kvm() {
        return;
    }
    let code = [
        0xa0, 0x00, 0x80, // mov al, [0x8000]
        0x04, 0x01, // add al, 1
        0xa2, 0x00, 0x80, // mov [0x8000], al
        0xa2, 0x00, 0x70, // mov [0x7000], al
        0xe6, 0x64, // out 0x64, al
    ];
    let guest = Guest::new(&code, NotifyProperties::default());
    let ram = &guest.ram;
    ram.write_obj(0x41u8, GuestAddress(0x8000)).unwrap();
    let mut changes = guest.accel.memory().change();
    changes.delete(0..MIB);
    changes.add(Region::new(ram, 0..0x8000)).unwrap();
    changes.add(Region::new(ram, 0x8000..0x9000).read_only(true)).unwrap();
    changes.commit().unwrap();
    guest.vcpus.resume();
    assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    assert_eq!(guest.bus.accesses.lock().unwrap()[0], (true, 0x8000, vec![0x42]));
    assert_eq!(ram.read_obj::<u8>(GuestAddress(0x8000)).unwrap(), 0x41);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(0x7000)).unwrap(), 0x42);
}

#[test]
fn test_a_read_only_toggle_is_two_calls_and_no_difference_is_none() {
    if !kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let toggle = |read_only| {
        slot_calls(|| {
            let mut changes = accel.memory().change();
            changes.delete(0..MIB);
            changes.add(Region::new(&ram, 0..MIB).read_only(read_only)).unwrap();
            changes.commit().unwrap();
        })
    };
    assert_eq!(toggle(true), [(0, 0, 0, 0), (0, 2, 0, MIB)]);
    assert_eq!(toggle(true), []);
    assert_eq!(toggle(false), [(0, 0, 0, 0), (0, 0, 0, MIB)]);
    assert_eq!(slot_calls(|| accel.memory().set_log_dirty(true).unwrap()), [(0, 1, 0, MIB)]);
    assert_eq!(slot_calls(|| accel.memory().set_log_dirty(true).unwrap()), []);
}

/// Creates RAM from an unnamed file. Returns both.
fn file_ram(size: u64) -> (GuestRam, File) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("kvm-accel-memory-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.set_len(size).unwrap();
    let mapping = MmapRegion::from_file(FileOffset::new(file.try_clone().unwrap(), 0), size.try_into().unwrap());
    let region = GuestRegion::new(mapping.unwrap(), GuestAddress(0)).unwrap();
    (GuestRam::from_regions(vec![region], 4096, true).unwrap(), file)
}

#[test]
fn test_user_mode_that_loses_its_memory_ends_kvm_run_with_efault() {
    if !kvm() {
        return;
    }
    let code = [0x8a, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00, 0xeb, 0xf7]; // mov al, [0x300000]; jmp to it
    let (ram, file) = file_ram(4 * MIB);
    let guest = Guest::in_user_mode(ram, &code);
    guest.vcpus.resume();
    std::thread::sleep(Duration::from_millis(20));
    file.set_len(2 * MIB).unwrap();
    let StopReason::Fault(fault) = guest.stopped() else { panic!("not a fault") };
    assert_eq!(fault.kind, FaultKind::Memory, "{}", fault.message);
    assert!(
        fault.message.contains("Bad address") || fault.message.contains("KVM_EXIT_MEMORY_FAULT"),
        "{}",
        fault.message
    );
    assert!(fault.message.ends_with("guest memory at 0x200000 is lost: its file was truncated to 2097152 bytes"));
    assert!(fault.report.contains("RIP=0000000000008000"), "{}", fault.report);
}

#[test]
fn test_the_report_of_lost_code_raises_no_signal_in_the_process() {
    if !kvm() {
        return;
    }
    let (ram, file) = file_ram(4 * MIB);
    let jump = [0xe9, 0xfb, 0x7f, 0x2f, 0x00]; // jmp 0x300000, relative to 0x8005
    ram.write_slice(&[0xeb, 0xfe], GuestAddress(0x30_0000)).unwrap();
    let guest = Guest::in_user_mode(ram, &jump);
    guest.vcpus.resume();
    std::thread::sleep(Duration::from_millis(20));
    file.set_len(2 * MIB).unwrap();
    let StopReason::Fault(fault) = guest.stopped() else { panic!("not a fault") };
    assert_eq!(fault.kind, FaultKind::Memory, "{}", fault.message);
    assert!(fault.report.contains("Code=<00> 00"), "the empty page that is there instead: {}", fault.report);
    guest.vcpus.resume();
    let StopReason::Fault(fault) = guest.stopped() else { panic!("not a fault") };
    assert!(fault.message.contains("guest memory at 0x300000 is lost"), "{}", fault.message);
}

/// Truncates the file behind the guest's memory and touches a lost page on a thread that runs no vCPU, as a virtio worker does.
fn lose(guest: &Guest, file: &File) {
    file.set_len(2 * MIB).unwrap();
    assert_eq!(guest.ram.read_obj::<u8>(GuestAddress(0x30_0123)).unwrap(), 0, "the lost page reads as zeroes");
}

fn assert_lost(guest: &Guest, case: &str) {
    let StopReason::Fault(fault) = guest.stopped() else { panic!("{case}: not a fault") };
    assert_eq!(fault.kind, FaultKind::Memory, "{case}: {}", fault.message);
    assert!(fault.message.contains("guest memory at 0x300000 is lost"), "{case}: {}", fault.message);
}

#[test]
fn test_a_loss_on_another_thread_stops_a_guest_that_touches_no_memory() {
    if !kvm() {
        return;
    }
    let (ram, file) = file_ram(4 * MIB);
    // out 0x11, al; jmp .
    let guest = Guest::in_ram(ram, &[0xe6, 0x11, 0xeb, 0xfe], NotifyProperties::default());
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    lose(&guest, &file);
    assert_lost(&guest, "running");
}

#[test]
fn test_a_loss_stops_a_guest_that_is_halted() {
    if !kvm() {
        return;
    }
    for kernel_irqchip in [KernelIrqchip::On, KernelIrqchip::Split, KernelIrqchip::Off] {
        let (ram, file) = file_ram(4 * MIB);
        let properties = AccelProperties { kernel_irqchip, ..Default::default() };
        // out 0x11, al; cli; hlt
        let guest = Guest::with(properties, 1, ram, &[0xe6, 0x11, 0xfa, 0xf4]);
        guest.vcpus.resume();
        guest.wait_for_accesses(1);
        if kernel_irqchip == KernelIrqchip::Off {
            while guest.vcpus.counters().exits(ExitKind::Halt) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        lose(&guest, &file);
        assert_lost(&guest, &format!("halted, {kernel_irqchip:?}"));
    }
}

#[test]
fn test_a_loss_stops_a_guest_that_sleeps() {
    if !kvm() {
        return;
    }
    let (ram, file) = file_ram(4 * MIB);
    // out 0x65, al
    let guest = Guest::in_ram(ram, &[0xe6, 0x65], NotifyProperties::default());
    guest.vcpus.resume();
    guest.wait_for_accesses(1);
    lose(&guest, &file);
    assert_lost(&guest, "asleep");
}

#[test]
fn test_a_loss_stops_a_machine_of_which_one_vcpu_is_stepped() {
    if !kvm() {
        return;
    }
    for vcpu in 0..2 {
        let (ram, file) = file_ram(4 * MIB);
        // The step does not end: the vCPU sleeps (out 0x65, al) in it.
        let guest = Guest::with(AccelProperties::default(), 2, ram, &[0xe6, 0x65]);
        guest.start(1, support::ENTRY);
        guest.vcpus.prepare_step(vcpu).unwrap();
        guest.vcpus.resume_only(vcpu);
        guest.wait_for_accesses(1);
        lose(&guest, &file);
        assert_lost(&guest, &format!("vCPU {vcpu} is stepped"));
    }
}

#[test]
fn test_a_loss_during_a_pause_is_reported_at_the_resume() {
    if !kvm() {
        return;
    }
    for only in [None, Some(0), Some(1)] {
        let (ram, file) = file_ram(4 * MIB);
        let guest = Guest::with(AccelProperties::default(), 2, ram, &[0xeb, 0xfe]);
        guest.vcpus.resume();
        guest.vcpus.pause();
        assert_eq!(guest.stopped(), StopReason::Paused);
        lose(&guest, &file);
        match only {
            None => guest.vcpus.resume(),
            Some(vcpu) => {
                guest.vcpus.prepare_step(vcpu).unwrap();
                guest.vcpus.resume_only(vcpu);
            }
        }
        assert_lost(&guest, "parked");
    }
}

#[test]
fn test_an_overlay_splits_a_region_until_it_is_removed() {
    if !kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let mut changes = accel.memory().change();
    // Listed in an order that would fail in the kernel.
    changes.add(Region::new(&ram, 0x1_0000..MIB)).unwrap();
    changes.add(Region::new(&ram, 0..0x8000)).unwrap();
    changes.add(Region::new(&ram, 0x8000..0x1_0000).read_only(true)).unwrap();
    changes.delete(0..MIB);
    changes.commit().unwrap();
    assert_eq!(slots(&accel), [(0x1_0000, MIB - 0x1_0000, false), (0, 0x8000, false), (0x8000, 0x8000, true)]);

    let mut changes = accel.memory().change();
    changes.delete(0..0x8000);
    changes.delete(0x8000..0x1_0000);
    changes.delete(0x1_0000..MIB);
    changes.add(Region::new(&ram, 0..MIB)).unwrap();
    changes.commit().unwrap();
    assert_eq!(slots(&accel), [(0, MIB, false)]);
}

#[test]
fn test_what_the_kernel_refuses_names_slot_start_and_size_and_changes_nothing() {
    if !kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let misaligned = Region { ram_address: 0x10, ..Region::new(&ram, 2 * MIB..2 * MIB + 0x2000) };
    let overlapping = Region::new(&ram, 0x4000..0x6000).at(0x2000);
    for (refused, errno, start) in [(overlapping, libc::EEXIST, "0x2000"), (misaligned, libc::EINVAL, "0x200000")] {
        let mut changes = accel.memory().change();
        changes.delete(0x9000..0xa000);
        changes.add(Region::new(&ram, 0x4000..0x5000).at(4 * MIB)).unwrap();
        changes.add(refused).unwrap();
        let error = Error::from(changes.commit().unwrap_err());
        assert_eq!((error.ioctl(), error.errno()), (Some("KVM_SET_USER_MEMORY_REGION"), Some(errno)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("slot 2, start {start}, size 0x2000")), "{text}");
        assert_eq!(slots(&accel), [(0, MIB, false)]);
        // The kernel has no slot there either: the same range is free.
        let mut changes = accel.memory().change();
        changes.add(Region::new(&ram, 0x4000..0x5000).at(4 * MIB)).unwrap();
        changes.commit().unwrap();
        let mut changes = accel.memory().change();
        changes.delete(4 * MIB..4 * MIB + 0x1000);
        changes.commit().unwrap();
    }
    let error = Error::from(accel.memory().change().add(Region::new(&ram, MIB - 0x1000..MIB + 0x1000)).unwrap_err());
    assert!(matches!(error, Error::Memory(RegionError { start: 0xf_f000, .. })), "{error}");
}

#[test]
fn test_logging_is_switched_in_place_and_the_vm_may_go_before_the_handle() {
    if !kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let memory = accel.memory().clone();
    for on in [true, true, false, false] {
        memory.set_log_dirty(on).unwrap();
        assert!(memory.slots().iter().all(|slot| slot.log_dirty == on));
    }
    drop(accel);
    assert_eq!(Error::from(memory.set_log_dirty(true).unwrap_err()).errno(), Some(libc::EBADF));
}

#[test]
fn test_what_this_process_writes_is_in_the_dirty_log() {
    if !support::kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let log = accel.dirty_log();
    ram.write_obj(1_u32, GuestAddress(0x1000)).unwrap();
    log.start().unwrap();
    assert_eq!(log.take().unwrap().pages(), 0);
    // Across the end of a page.
    ram.write_obj(1_u32, GuestAddress(0x3_1ffe)).unwrap();
    assert!(log.take().unwrap().ranges().eq(std::iter::once(0x3_1000..0x3_3000)));
    assert_eq!(log.take().unwrap().pages(), 0);
    ram.write_obj(1_u32, GuestAddress(0x1000)).unwrap();
    log.stop().unwrap();
    assert_eq!(log.take().unwrap().pages(), 0);
}

#[test]
fn test_a_dirty_ring_forgets_what_was_written_before_the_log_was_started_again() {
    if !kvm() {
        return;
    }
    let properties = AccelProperties { dirty_ring_size: 4096, ..Default::default() };
    let code = [
        0xa2, 0x00, 0x80, // mov [0x8000], al
        0xe6, 0x64, // out 0x64, al: stop
        0xa2, 0x00, 0x90, // mov [0x9000], al
        0xe6, 0x64, // out 0x64, al
    ];
    let guest = Guest::with(properties, 1, ram(), &code);
    let log = guest.accel.dirty_log();
    if !matches!(log.mode(), Mode::Ring(_)) {
        println!("skipped: this host has no dirty rings");
        return;
    }
    let run = || {
        guest.vcpus.resume();
        assert_eq!(guest.stopped(), StopReason::Guest(Request::Reset));
    };
    log.start().unwrap();
    run();
    log.stop().unwrap();
    assert_eq!(log.take().unwrap().pages(), 0, "nothing is logged");
    log.start().unwrap();
    run();
    assert!(log.take().unwrap().ranges().eq(std::iter::once(0x9000..0xa000)));
}
