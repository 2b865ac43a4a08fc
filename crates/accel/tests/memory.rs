//! Memory slots with a real kernel: what it accepts, what it refuses, and what a guest sees of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use kvm_accel::memory::Region;
use kvm_accel::{
    AccelProperties, Accelerator, Bus, Error, Event, EventSink, GuestRam, Request, StartMode, StartState, StopReason,
};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn kvm() -> bool {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        println!("skipped: no /dev/kvm on this host");
    }
    there
}

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

fn accelerator(ram: &GuestRam) -> Accelerator {
    Accelerator::new(AccelProperties::default(), 1, ram.clone()).unwrap()
}

/// Start, size and read-only of each slot.
fn slots(accel: &Accelerator) -> Vec<(u64, u64, bool)> {
    accel.memory().slots().iter().map(|slot| (slot.start, slot.size, slot.read_only)).collect()
}

/// MMIO writes; any `out` powers off.
#[derive(Default)]
struct Writes(Mutex<Vec<(u64, Vec<u8>)>>);

impl Bus for Writes {
    fn pio_read(&self, _: u16, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn pio_write(&self, _: u16, _: &[u8]) -> Option<Request> {
        Some(Request::Shutdown)
    }
    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) -> Option<Request> {
        self.0.lock().unwrap().push((addr, data.to_vec()));
        None
    }
    fn interrupt(&self) {}
    fn resume(&self) {}
}

struct Channel(Mutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

fn stopped(events: &Receiver<Event>) -> StopReason {
    loop {
        if let Event::Stopped(reason) = events.recv_timeout(PATIENCE).expect("an event") {
            return reason;
        }
    }
}

const REAL: StartState = StartState { mode: StartMode::Real, rip: 0x1000, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };

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
        0xe6, 0x10, // out 0x10, al
    ];
    let ram = ram();
    ram.write_slice(&code, GuestAddress(0x1000)).unwrap();
    ram.write_obj(0x41u8, GuestAddress(0x8000)).unwrap();
    let accel = accelerator(&ram);
    let mut changes = accel.memory().change();
    changes.delete(0..MIB);
    changes.add(Region::new(&ram, 0..0x8000)).unwrap();
    changes.add(Region::new(&ram, 0x8000..0x9000).read_only(true)).unwrap();
    changes.commit().unwrap();
    let (bus, (sender, events)) = (Arc::new(Writes::default()), channel());
    let vcpus = accel.launch(&REAL, bus.clone(), Arc::new(Channel(Mutex::new(sender)))).unwrap();
    vcpus.resume();
    assert_eq!(stopped(&events), StopReason::Guest(Request::Shutdown));
    assert_eq!(*bus.0.lock().unwrap(), [(0x8000, vec![0x42])]);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(0x8000)).unwrap(), 0x41);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(0x7000)).unwrap(), 0x42);
}

#[test]
fn test_a_region_is_split_by_an_overlay_and_made_whole_again() {
    if !kvm() {
        return;
    }
    let ram = ram();
    let accel = accelerator(&ram);
    let mut changes = accel.memory().change();
    // In the order in which nobody would want the kernel to see them.
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
        let error = changes.commit().unwrap_err();
        assert_eq!((error.ioctl(), error.errno()), (Some("KVM_SET_USER_MEMORY_REGION"), Some(errno)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("slot 2, start {start}, size 0x2000")), "{text}");
        assert_eq!(slots(&accel), [(0, MIB, false)]);
        // The kernel has none of it either: the same place is free.
        let mut changes = accel.memory().change();
        changes.add(Region::new(&ram, 0x4000..0x5000).at(4 * MIB)).unwrap();
        changes.commit().unwrap();
        let mut changes = accel.memory().change();
        changes.delete(4 * MIB..4 * MIB + 0x1000);
        changes.commit().unwrap();
    }
    let error = accel.memory().change().add(Region::new(&ram, MIB - 0x1000..MIB + 0x1000)).unwrap_err();
    assert!(matches!(error, Error::Memory { start: 0xf_f000, .. }), "{error}");
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
    assert_eq!(memory.set_log_dirty(true).unwrap_err().errno(), Some(libc::EBADF));
}
