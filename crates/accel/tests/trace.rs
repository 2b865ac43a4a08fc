//! Tests trace events of a real kernel's results that need no guest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use kvm_accel::interrupts::Msi;
use kvm_accel::io::{IoAddress, Ioeventfd, Written};
use kvm_accel::memory::Region;
use kvm_accel::trace::{Filter, Trace, TraceEvent};
use kvm_accel::{AccelProperties, Accelerator, GuestRam};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

fn kvm() -> bool {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        println!("skipped: no /dev/kvm on this host");
    }
    there
}

/// Returns the events that `act` causes and `glob` matches.
fn traced(glob: &str, act: impl FnOnce(&Accelerator)) -> Vec<TraceEvent> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let accel = Accelerator::new(AccelProperties::default(), 1, ram).unwrap();
    let trace = Trace::default();
    let session = trace.open(Filter::glob(glob), 100);
    let scope = trace.enter();
    act(&accel);
    drop(scope);
    session.take().records.into_iter().map(|record| record.event).collect()
}

#[test]
fn test_ioeventfds_are_traced_with_size_and_value() {
    if !kvm() {
        return;
    }
    let event = Arc::new(EventFd::new(0).unwrap());
    let fd = event.as_raw_fd();
    let port = Ioeventfd { address: IoAddress::Pio(0xe0), written: Written::Word(Some(7)), event: Arc::clone(&event) };
    let memory = Ioeventfd { address: IoAddress::Mmio(0xfeb0_0000), written: Written::Anything, event };
    let events = traced("kvm_set_ioeventfd_*", |accel| {
        accel.io().assign(&port).unwrap();
        accel.io().assign(&memory).unwrap();
        accel.io().deassign(&port).unwrap();
    });
    let pio = |assign| TraceEvent::KvmSetIoeventfdPio { fd, addr: 0xe0, val: 7, assign, size: 2, datamatch: true };
    let mmio =
        TraceEvent::KvmSetIoeventfdMmio { fd, addr: 0xfeb0_0000, val: 0, assign: true, size: 0, datamatch: false };
    assert_eq!(events, [pio(true), mmio, pio(false)]);
}

#[test]
fn test_routes_are_traced_before_the_commit() {
    if !kvm() {
        return;
    }
    let mut virq = 0;
    let events = traced("kvm_irqchip_*", |accel| {
        let mut routes = accel.interrupts().change_routes();
        virq = routes.add_msi(Msi { address: 0xfee0_0000, data: 0x30 }).unwrap();
        routes.update_msi(virq, Msi { address: 0xfee0_0000, data: 0x31 }).unwrap();
        routes.commit().unwrap();
        let mut routes = accel.interrupts().change_routes();
        routes.release(virq);
        routes.commit().unwrap();
    });
    assert_eq!(
        events,
        [
            TraceEvent::KvmIrqchipAddMsiRoute { address: 0xfee0_0000, data: 0x30, virq },
            TraceEvent::KvmIrqchipUpdateMsiRoute { virq },
            TraceEvent::KvmIrqchipCommitRoutes {},
            TraceEvent::KvmIrqchipReleaseVirq { virq },
            TraceEvent::KvmIrqchipCommitRoutes {},
        ]
    );
}

#[test]
fn test_a_read_only_overlay_deletes_before_it_adds() {
    if !kvm() {
        return;
    }
    let overlay = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let events = traced("kvm_set_user_memory", |accel| {
        let mut changes = accel.memory().change();
        changes.delete(0..1 << 20);
        changes.add(Region::new(&overlay, 0..0x8000)).unwrap();
        changes.add(Region::new(&overlay, 0x8000..0x9000).read_only(true)).unwrap();
        changes.commit().unwrap();
    });
    let slots: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            TraceEvent::KvmSetUserMemory { flags, guest_phys_addr, memory_size, ret, .. } => {
                (flags, guest_phys_addr, memory_size, ret)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(slots, [(0, 0, 0, 0), (0, 0, 0x8000, 0), (2, 0x8000, 0x1000, 0)]);
}
