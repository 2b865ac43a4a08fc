//! Tests that a panic on a vCPU's thread fails the operation that panicked, and that the machine continues or stops.
//! Also tests what a stop reports in addition to its reason.

use super::{Vcpus, emulation};
use crate::{
    AccelProperties, Accelerator, Bus, Error, Event, EventSink, FaultKind, GuestRam, Request, StartMode, StartState,
    StopReason,
};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// A bus whose devices panic in a write, and when a machine stops.
struct Panics;

impl Bus for Panics {
    fn pio_read(&self, _: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, _: u16, _: &[u8]) -> Option<Request> {
        std::panic::panic_any("the write fails")
    }

    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _: u64, _: &[u8]) -> Option<Request> {
        None
    }

    fn interrupt(&self) {
        std::panic::panic_any("the interruption fails")
    }

    fn resume(&self) {}
}

struct Channel(Mutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

const ENTRY: u64 = 0x1000;

/// Creates two vCPUs, of which the first runs `code`. Returns `None` without /dev/kvm, which is a failure in CI.
fn machine(code: &[u8]) -> Option<(Vcpus, Accelerator, Receiver<Event>)> {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        return None;
    }
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    ram.write_slice(code, GuestAddress(ENTRY)).unwrap();
    let accel = Accelerator::new(AccelProperties::default(), 2, ram).unwrap();
    let start = StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };
    let (sender, events) = channel();
    let vcpus = accel.launch(&start, Arc::new(Panics), Arc::new(Channel(Mutex::new(sender)))).unwrap();
    Some((vcpus, accel, events))
}

fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn test_work_that_panics_is_an_error_and_the_thread_continues() {
    let Some((vcpus, _accel, events)) = machine(&[0xeb, 0xfe]) else { return };
    for vcpu in 0..2 {
        let failed = vcpus.on_thread(vcpu, |_| std::panic::panic_any("the work fails")).unwrap_err();
        assert_eq!(failed, Error::Panicked { vcpu, message: "the work fails".into() });
        assert_eq!(failed.to_string(), format!("an operation on vCPU {vcpu} panicked: the work fails"));
    }
    // Each thread parks and runs normally after the panic. The bus panics in `interrupt`, and the pause still stops the
    // machine.
    for _ in 0..3 {
        vcpus.resume();
        vcpus.pause();
        assert_eq!(next(&events), Event::Stopped(StopReason::Paused));
        vcpus.reset().unwrap();
        assert_eq!(vcpus.state(0).unwrap().registers.rip, ENTRY);
    }
}

#[test]
fn test_a_reset_that_panics_is_an_error_of_the_reset() {
    let Some((vcpus, _accel, events)) = machine(&[0xeb, 0xfe]) else { return };
    vcpus.on_thread(1, super::thread::VcpuThread::fail_next_reset).unwrap();
    assert_eq!(vcpus.reset().unwrap_err(), Error::Panicked { vcpu: 1, message: "the reset fails".into() });
    vcpus.reset().unwrap();
    vcpus.resume();
    vcpus.pause();
    assert_eq!(next(&events), Event::Stopped(StopReason::Paused));
}

#[test]
fn test_a_device_that_panics_stops_its_machine() {
    // out 0x11, al
    let Some((vcpus, _accel, events)) = machine(&[0xe6, 0x11]) else { return };
    vcpus.resume();
    let Event::Stopped(StopReason::Fault(fault)) = next(&events) else { panic!("not a fault") };
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::Exit, "vCPU 0: a device failed: the write fails"));
    vcpus.reset().unwrap();
}

/// Records emulation failures until one is not in any report yet.
fn leave_one_unreported(vcpus: &Vcpus) {
    while vcpus.shared.note_emulation_failure() != emulation::Report::Later {}
}

#[test]
fn test_the_last_number_of_emulation_failures_is_reported_when_the_machine_stops_or_ends() {
    let Some((mut vcpus, _accel, events)) = machine(&[0xeb, 0xfe]) else { return };
    let assert_reported = |event: Event| match event {
        Event::Warning(warning) => assert_eq!(warning.message, emulation::message(1)),
        other => panic!("not a warning: {other:?}"),
    };
    vcpus.resume();
    leave_one_unreported(&vcpus);
    vcpus.pause();
    assert_reported(next(&events));
    assert_eq!(next(&events), Event::Stopped(StopReason::Paused));
    leave_one_unreported(&vcpus);
    vcpus.end();
    assert_reported(next(&events));
    assert!(events.try_recv().is_err());
}
