use super::*;
use crate::bus::BusDevice;
use crate::devices::Irq;
use crate::virtio::{Driver, Rng, VirtioDevice, Worker};
use kvm_accel::GuestRam;
use rustix::event::{PollFd, PollFlags};
use std::path::Path;
use std::sync::Barrier;
use std::sync::mpsc::{Sender, channel};
use virtio_bindings::virtio_mmio as register;
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

/// A deadline that only catches a hang.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A device whose worker follows a test's script.
struct Scripted {
    /// Work is in flight until this is signalled.
    in_flight: Arc<EventFd>,
    script: Option<Script>,
}

/// What a worker does when it is called and when it is dropped.
#[derive(Clone)]
struct Script {
    /// The worker was called.
    called: Sender<()>,
    /// What dropping the worker waits for.
    dropped: Arc<Barrier>,
}

impl VirtioDevice for Scripted {
    fn name(&self) -> &'static str {
        "virtio-scripted"
    }
    fn id(&self) -> u32 {
        63
    }
    fn features(&self) -> u64 {
        0
    }
    fn queues(&self) -> &[u16] {
        &[4]
    }
    fn activate(&self, _: Driver) -> Box<dyn Worker> {
        Box::new(ScriptedWorker { in_flight: Arc::clone(&self.in_flight), script: self.script.clone() })
    }
}

struct ScriptedWorker {
    in_flight: Arc<EventFd>,
    script: Option<Script>,
}

impl Worker for ScriptedWorker {
    fn notified(&mut self, _: usize) -> Result<(), WorkerError> {
        self.script.iter().for_each(|script| script.called.send(()).unwrap());
        Ok(())
    }
    fn in_flight(&self) -> Option<PollFd<'_>> {
        let fd = kvm_accel::io::borrow_fd(&self.in_flight);
        Some(PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }
}

impl Drop for ScriptedWorker {
    fn drop(&mut self) {
        if let Some(script) = &self.script {
            script.dropped.wait();
        }
    }
}

fn event() -> Arc<EventFd> {
    Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())
}

/// Returns a transport whose driver has started the device.
fn started(device: Arc<dyn VirtioDevice>) -> Arc<Mmio> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let transport = Arc::new(Mmio::new(device, ram, Irq::none(), Box::new(|_| {})).unwrap());
    let write = |register: u32, value: u32| BusDevice::write(&*transport, register.into(), &value.to_le_bytes());
    for status in [3, 11, 15] {
        write(register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        write(register::VIRTIO_MMIO_DRIVER_FEATURES, 1);
        write(register::VIRTIO_MMIO_STATUS, status);
    }
    transport
}

fn scripted(script: Option<Script>) -> Arc<dyn VirtioDevice> {
    Arc::new(Scripted { in_flight: event(), script })
}

#[test]
fn devices_that_are_late_are_named_and_the_others_are_quiet() {
    let rng = Arc::new(Rng::new(Path::new("/dev/zero"), None).unwrap());
    let transports = [started(scripted(None)), started(rng), started(scripted(None))];
    transports.iter().for_each(|transport| transport.interrupt());
    // Succeeds however late the host schedules the device's thread.
    transports[1].wait_until_quiet(later()).unwrap();
    let wait = |deadline| Unquiet::collect(&transports, |transport| transport.wait_until_quiet(deadline));
    let late = wait(Instant::now() + Duration::from_millis(50)).unwrap_err();
    assert_eq!(late.devices(), [("virtio-scripted", 0), ("virtio-scripted", 2)]);
    let text = "virtio-scripted (virtio device 0), virtio-scripted (virtio device 2)";
    assert!(late.to_string().contains(text), "{late}");
    // A reset does not wait for the pause, and a device without a driver counts as quiet.
    assert_eq!(stop(&transports, later()), Ok(()));
    assert_eq!(wait(Instant::now()), Ok(()));
}

/// Returns transports whose workers run on their threads. No worker is dropped before all of them are being dropped.
fn together() -> [Arc<Mmio>; 3] {
    let (called, calls) = channel();
    let script = Script { called, dropped: Arc::new(Barrier::new(3)) };
    [(); 3].map(|()| {
        let transport = started(scripted(Some(script.clone())));
        BusDevice::write(&*transport, register::VIRTIO_MMIO_QUEUE_NOTIFY.into(), &[0; 4]);
        calls.recv_timeout(Duration::from_secs(60)).unwrap();
        transport
    })
}

#[test]
fn all_devices_are_asked_to_stop_before_one_is_waited_for() {
    assert_eq!(stop(&together(), later()), Ok(()));
}

#[test]
fn all_devices_are_asked_to_end_before_one_is_dropped() {
    let transports = together();
    let deadline = later();
    transports.iter().for_each(|transport| transport.request_end(deadline));
    drop(transports);
    assert!(Instant::now() < deadline, "the first one waited for the others");
}
