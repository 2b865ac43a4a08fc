//! Interrupts injected from outside, with a guest that reports every vector it takes: messages, routes, irqfds, lines
//! and NMIs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kvm_accel::interrupts::{Delivery, Interrupts, LostTickPolicy, Msi};
use kvm_accel::{AccelProperties, Accelerator, Bus, Event, EventSink, Request, Vcpus};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::boot::BootOptions;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{MIB, Ram, kvm};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// A last resort against a hang: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const NMI: u8 = 2;
/// The vector of the IOAPIC's pin under test.
const PIN_VECTOR: u8 = 0x40;

/// Forwards the vectors that the guest reports.
struct Vectors(Mutex<Sender<u8>>);

impl Bus for Vectors {
    fn pio_read(&self, _: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
        if port == 0xe0 {
            self.0.lock().unwrap().send(data[0]).unwrap();
        }
        None
    }

    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _: u64, _: &[u8]) -> Option<Request> {
        None
    }

    fn interrupt(&self) {}

    fn resume(&self) {}
}

struct IgnoreEvents;

impl EventSink for IgnoreEvents {
    fn emit(&self, _: Event) {}
}

struct Guest {
    vcpus: Vcpus,
    accel: Accelerator,
    reported: Receiver<u8>,
}

impl Guest {
    /// Starts a guest and waits until it takes interrupts.
    fn new(cmdline: &str) -> Self {
        let ram = Ram::of(2 * MIB);
        let kernel = image("interrupts", Format::Pvh).unwrap();
        let start = ram.load(kernel, BootOptions { cmdline: cmdline.into(), ..Default::default() }).unwrap();
        let accel = Accelerator::new(AccelProperties::default(), 1, ram.memory.clone()).unwrap();
        let (sender, reported) = channel();
        let vcpus = accel.launch(&start, Arc::new(Vectors(Mutex::new(sender))), Arc::new(IgnoreEvents)).unwrap();
        vcpus.resume();
        let guest = Self { vcpus, accel, reported };
        assert_eq!(guest.vector(), 0);
        guest
    }

    fn interrupts(&self) -> &Interrupts {
        self.accel.interrupts()
    }

    fn vector(&self) -> u8 {
        self.reported.recv_timeout(PATIENCE).unwrap()
    }

    /// Asserts that no interrupt is pending: it would arrive before the answer to one more message.
    fn quiet(&self) {
        self.interrupts().send_msi(message(0x3e)).unwrap();
        assert_eq!(self.vector(), 0x3e);
    }
}

/// Returns an edge-triggered message to the only processor.
const fn message(vector: u8) -> Msi {
    Msi { address: 0xfee0_0000, data: vector as u32 }
}

fn event() -> EventFd {
    EventFd::new(EFD_NONBLOCK).unwrap()
}

#[test]
fn a_message_reaches_the_processor_it_names_and_no_other() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("");
    assert_eq!(guest.interrupts().send_msi(message(0x31)).unwrap(), Delivery::Delivered(1));
    assert_eq!(guest.vector(), 0x31);
    let unaddressed = Msi { address: 0xfee0_7000, data: 0x32 };
    let delivery = guest.interrupts().send_msi(unaddressed).unwrap();
    assert!(!matches!(delivery, Delivery::Delivered(_)), "{delivery:?}");
    guest.quiet();
}

#[test]
fn a_route_moves_to_another_message_and_goes_away() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("");
    let mut changes = guest.interrupts().change_routes();
    let gsi = changes.add_msi(message(0x32)).unwrap();
    changes.commit().unwrap();
    assert_eq!(gsi, 24);
    let irqfd = guest.interrupts().irqfd(gsi).unwrap();
    irqfd.raise();
    assert_eq!(guest.vector(), 0x32);

    let mut changes = guest.interrupts().change_routes();
    changes.update_msi(gsi, message(0x33)).unwrap();
    drop(changes);
    irqfd.raise();
    assert_eq!(guest.vector(), 0x32, "a change without a commit has no effect");
    let mut changes = guest.interrupts().change_routes();
    changes.update_msi(gsi, message(0x33)).unwrap();
    changes.commit().unwrap();
    irqfd.raise();
    assert_eq!(guest.vector(), 0x33);

    let mut changes = guest.interrupts().change_routes();
    changes.release(gsi);
    changes.commit().unwrap();
    irqfd.raise();
    guest.quiet();
    drop(irqfd);
}

#[test]
fn an_irqfd_raises_an_edge_of_the_ioapic_until_it_is_dropped() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("pin=5");
    let irqfd = guest.interrupts().irqfd(5).unwrap();
    for _ in 0..3 {
        irqfd.raise();
        assert_eq!(guest.vector(), PIN_VECTOR);
    }
    let writer = irqfd.event().try_clone().unwrap();
    drop(irqfd);
    writer.write(1).unwrap();
    guest.quiet();
    let twice = guest.interrupts().irqfd(5).unwrap();
    twice.raise();
    assert_eq!(guest.vector(), PIN_VECTOR);
}

#[test]
fn a_level_stays_until_it_is_acknowledged_and_then_is_raised_again() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("pin=11 level=1");
    let resample = event();
    let irqfd = guest.interrupts().irqfd_with_resample(11, resample.try_clone().unwrap()).unwrap();
    for _ in 0..3 {
        irqfd.raise();
        assert_eq!(guest.vector(), PIN_VECTOR);
        guest.quiet();
        assert_eq!(resample.read().unwrap(), 1, "one signal for each acknowledgement");
    }
    assert!(!guest.interrupts().acknowledged(11), "the kernel has handled it already");
}

#[test]
fn a_line_returns_the_result_of_its_change() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("pin=7 level=1");
    let line = |level| guest.interrupts().set_line(7, level).unwrap();
    assert!(matches!(line(true), Delivery::Delivered(_)));
    // The guest acknowledges while the line is still high, so the interrupt is sent again.
    assert_eq!([guest.vector(), guest.vector()], [PIN_VECTOR; 2]);
    line(false);
    while guest.reported.try_recv().is_ok() {}
    let masked = guest.interrupts().set_line(8, true).unwrap();
    assert_eq!(masked, Delivery::Ignored);
}

#[test]
fn an_nmi_is_taken_where_lint1_lets_it_through_and_only_once_the_machine_runs() {
    if !kvm() {
        return;
    }
    let guest = Guest::new("");
    guest.vcpus.pause();
    guest.vcpus.inject_nmi();
    let nothing = guest.reported.recv_timeout(Duration::from_millis(50));
    assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    guest.vcpus.resume();
    assert_eq!(guest.vector(), NMI);
}

#[test]
fn lost_ticks_of_the_pit_are_delayed_or_discarded() {
    if !kvm() {
        return;
    }
    let ram = Ram::of(MIB);
    let accel = Accelerator::new(AccelProperties::default(), 1, ram.memory).unwrap();
    accel.interrupts().set_lost_tick_policy(LostTickPolicy::Discard).unwrap();
    accel.interrupts().set_lost_tick_policy(LostTickPolicy::Delay).unwrap();
}
