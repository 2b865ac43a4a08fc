#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::virtio::Rng;
use crate::virtio::interface::{DriverError, Worker};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::{Bytes, GuestAddress};

const READY: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
const DESCRIPTORS: u32 = 0x1000;
const AVAILABLE: u32 = 0x2000;
const USED: u32 = 0x3000;
const BUFFER: u64 = 0x4000;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

/// Creates a transport, and a receiver of the interrupts on its line.
fn transport(device: impl VirtioDevice + 'static, ram: &GuestRam) -> (Mmio, Receiver<()>) {
    let (raised, line) = channel();
    let irq = Irq::edge(move || _ = raised.send(()));
    (Mmio::new(Arc::new(device), ram.clone(), irq, Box::new(|_| {})).unwrap(), line)
}

/// A deadline that only a hang exceeds.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn write(mmio: &Mmio, offset: u32, value: u32) {
    assert!(BusDevice::write(mmio, offset.into(), &value.to_le_bytes()).is_none());
}

fn read(mmio: &Mmio, offset: u32) -> u32 {
    let mut data = [0; 4];
    BusDevice::read(mmio, offset.into(), &mut data);
    u32::from_le_bytes(data)
}

fn agree(mmio: &Mmio, features: u64) -> u32 {
    write(mmio, register::VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for selector in [0, 1] {
        write(mmio, register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, selector);
        write(mmio, register::VIRTIO_MMIO_DRIVER_FEATURES, word(features, selector));
    }
    write(mmio, register::VIRTIO_MMIO_STATUS, READY);
    read(mmio, register::VIRTIO_MMIO_STATUS)
}

fn start(mmio: &Mmio, descriptors: u32) {
    assert_eq!(agree(mmio, 1 << VIRTIO_F_VERSION_1), READY);
    write(mmio, register::VIRTIO_MMIO_QUEUE_NUM, 4);
    write(mmio, register::VIRTIO_MMIO_QUEUE_DESC_LOW, descriptors);
    write(mmio, register::VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE);
    write(mmio, register::VIRTIO_MMIO_QUEUE_USED_LOW, USED);
    write(mmio, register::VIRTIO_MMIO_QUEUE_READY, 1);
    write(mmio, register::VIRTIO_MMIO_STATUS, READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

fn rng() -> Rng {
    Rng::new(Path::new("/dev/urandom"), None).unwrap()
}

/// Makes `len` writable bytes at [`BUFFER`] available, as the `index`th buffer.
fn offer(ram: &GuestRam, index: u16, len: u32) {
    let descriptor = [BUFFER.to_le_bytes().as_slice(), &len.to_le_bytes(), &[2, 0, 0, 0]].concat();
    ram.write_slice(&descriptor, GuestAddress(DESCRIPTORS.into())).unwrap();
    ram.write_obj(0_u16, GuestAddress(u64::from(AVAILABLE) + 4 + 2 * u64::from(index % 4))).unwrap();
    ram.write_obj(index + 1, GuestAddress(u64::from(AVAILABLE) + 2)).unwrap();
}

fn used(ram: &GuestRam) -> u16 {
    ram.read_obj(GuestAddress(u64::from(USED) + 2)).unwrap()
}

#[test]
fn test_a_driver_finds_the_device() {
    let (mmio, _) = transport(rng(), &ram());
    let registers = [
        (register::VIRTIO_MMIO_MAGIC_VALUE, u32::from_le_bytes(*b"virt")),
        (register::VIRTIO_MMIO_VERSION, 2),
        (register::VIRTIO_MMIO_DEVICE_ID, VIRTIO_ID_RNG),
        (register::VIRTIO_MMIO_QUEUE_NUM_MAX, 8),
        (register::VIRTIO_MMIO_SHM_LEN_LOW, u32::MAX),
        (0x1c, 0),
    ];
    for (offset, value) in registers {
        assert_eq!(read(&mmio, offset), value, "{offset:#x}");
    }
    // An access that is narrower than a register.
    let mut data = [1; 2];
    BusDevice::read(&mmio, 0, &mut data);
    assert_eq!(data, [0; 2]);
}

#[test]
fn test_features_that_were_not_offered_are_not_agreed_on() {
    let (mmio, _) = transport(rng(), &ram());
    let before = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    assert_eq!(agree(&mmio, 1 << VIRTIO_F_VERSION_1 | 1 << 5), before);
    // A driver that does not know VIRTIO_F_VERSION_1.
    assert_eq!(agree(&mmio, 0), before);
    write(&mmio, register::VIRTIO_MMIO_STATUS, before | VIRTIO_CONFIG_S_DRIVER_OK);
    assert_eq!(read(&mmio, register::VIRTIO_MMIO_STATUS), before);
    assert_eq!(agree(&mmio, 1 << VIRTIO_F_VERSION_1), READY);
}

#[test]
fn test_a_buffer_is_filled_and_interrupts() {
    let ram = ram();
    let (mmio, line) = transport(rng(), &ram);
    start(&mmio, DESCRIPTORS);
    for round in 0..6 {
        ram.write_slice(&[0; 64], GuestAddress(BUFFER)).unwrap();
        offer(&ram, round, 64);
        write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        line.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(used(&ram), round + 1);
        assert_eq!(read(&mmio, register::VIRTIO_MMIO_INTERRUPT_STATUS), 1);
        write(&mmio, register::VIRTIO_MMIO_INTERRUPT_ACK, 1);
        let mut bytes = [0; 64];
        ram.read_slice(&mut bytes, GuestAddress(BUFFER)).unwrap();
        assert_ne!(bytes, [0; 64]);
    }
    mmio.reset(later()).unwrap();
    assert_eq!(read(&mmio, register::VIRTIO_MMIO_STATUS), 0);
    // There is no worker yet.
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    assert!(line.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn test_a_queue_outside_ram_needs_a_reset() {
    let (mmio, line) = transport(rng(), &ram());
    start(&mmio, 0xffff_f000);
    line.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_ne!(read(&mmio, register::VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    assert_eq!(read(&mmio, register::VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    write(&mmio, register::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(read(&mmio, register::VIRTIO_MMIO_STATUS), 0);
}

#[test]
fn test_a_malformed_ring_needs_a_reset_and_works_after_it() {
    let ram = ram();
    let (raised, line) = channel();
    let (sender, errors) = channel();
    let irq = Irq::edge(move || _ = raised.send(()));
    let report = Box::new(move |error: &WorkerError| _ = sender.send(error.clone()));
    let mmio = Mmio::new(Arc::new(rng()), ram.clone(), irq, report).unwrap();
    start(&mmio, DESCRIPTORS);
    // The available index is ahead by more buffers than the queue has.
    ram.write_obj(100_u16, GuestAddress(u64::from(AVAILABLE) + 2)).unwrap();
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    line.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_ne!(read(&mmio, register::VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    let Ok(WorkerError::Driver(DriverError(why))) = errors.recv_timeout(Duration::from_secs(60)) else {
        panic!("expected an error of the driver")
    };
    assert!(why.contains("available ring index"), "{why}");
    write(&mmio, register::VIRTIO_MMIO_STATUS, 0);
    // After a reset, another error of the same kind is not reported.
    start(&mmio, 0xffff_f000);
    line.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(errors.try_recv().is_err());
    write(&mmio, register::VIRTIO_MMIO_STATUS, 0);
    ram.write_obj(0_u32, GuestAddress(USED.into())).unwrap();
    start(&mmio, DESCRIPTORS);
    offer(&ram, 0, 8);
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    line.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(used(&ram), 1);
}

#[test]
fn test_a_limit_holds_across_resets() {
    let ram = ram();
    let limit = Some((1, Duration::from_millis(1)));
    let (mmio, line) = transport(Rng::new(Path::new("/dev/urandom"), limit).unwrap(), &ram);
    let ask = |round| {
        offer(&ram, round, 64 << 10);
        write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    };
    start(&mmio, DESCRIPTORS);
    // A request that uses up the limit of a minute.
    ask(0);
    line.recv_timeout(Duration::from_secs(30)).unwrap();
    for _ in 0..2 {
        ask(1);
        assert!(line.recv_timeout(Duration::from_millis(50)).is_err());
        mmio.reset(later()).unwrap();
        ram.write_obj(0_u32, GuestAddress(USED.into())).unwrap();
        start(&mmio, DESCRIPTORS);
    }
}

/// A device whose methods panic.
struct Panics {
    activate: bool,
}

impl VirtioDevice for Panics {
    fn name(&self) -> &'static str {
        "virtio-panic"
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
        assert!(!self.activate, "a bug in activate");
        Box::new(PanicsWorker)
    }
}

struct PanicsWorker;

impl Worker for PanicsWorker {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        panic!("a bug in notified")
    }
}

#[test]
fn test_a_panic_needs_a_reset_is_reported_once_and_leaves_a_device_that_can_be_started() {
    for activate in [true, false] {
        let (raised, line) = channel();
        let (sender, errors) = channel();
        let irq = Irq::edge(move || _ = raised.send(()));
        let report = Box::new(move |error: &WorkerError| _ = sender.send(error.clone()));
        let mmio = Mmio::new(Arc::new(Panics { activate }), ram(), irq, report).unwrap();
        for round in 0..3 {
            start(&mmio, DESCRIPTORS);
            write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
            line.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_ne!(read(&mmio, register::VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
            write(&mmio, register::VIRTIO_MMIO_STATUS, 0);
            assert_eq!(read(&mmio, register::VIRTIO_MMIO_STATUS), 0, "round {round}");
        }
        let errors: Vec<_> = errors.try_iter().collect();
        let [WorkerError::Host(error)] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.to_string().contains("a bug in") && error.to_string().contains("report it"), "{error}");
    }
}

/// A worker that reports when it is dropped.
struct Watched(Sender<&'static str>);

impl VirtioDevice for Watched {
    fn name(&self) -> &'static str {
        "virtio-test"
    }
    fn id(&self) -> u32 {
        63
    }
    fn features(&self) -> u64 {
        0
    }
    fn queues(&self) -> &[u16] {
        &[4, 4]
    }
    fn activate(&self, _: Driver) -> Box<dyn Worker> {
        Box::new(WatchedWorker(self.0.clone()))
    }
}

struct WatchedWorker(Sender<&'static str>);

impl Worker for WatchedWorker {
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError> {
        self.0.send(["first", "second"][queue]).unwrap();
        Ok(())
    }
}

impl Drop for WatchedWorker {
    fn drop(&mut self) {
        self.0.send("gone").unwrap();
    }
}

#[test]
fn test_a_reset_waits_until_the_worker_has_ended() {
    let (sender, messages) = channel();
    let (mmio, _line) = transport(Watched(sender), &ram());
    start(&mmio, DESCRIPTORS);
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert_eq!(messages.recv_timeout(Duration::from_secs(60)), Ok("second"));
    // The device has no third queue.
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    mmio.reset(later()).unwrap();
    assert_eq!(messages.try_recv(), Ok("gone"));
    start(&mmio, DESCRIPTORS);
    drop(mmio);
    assert_eq!(messages.try_recv(), Ok("gone"));
}

#[test]
fn test_a_machine_that_is_stopped_has_devices_that_wait() {
    let (sender, messages) = channel();
    let (mmio, _line) = transport(Watched(sender), &ram());
    start(&mmio, DESCRIPTORS);
    mmio.interrupt();
    write(&mmio, register::VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    assert!(messages.recv_timeout(Duration::from_millis(50)).is_err());
    mmio.resume();
    assert_eq!(messages.recv_timeout(Duration::from_secs(60)), Ok("second"));
    mmio.interrupt();
    mmio.reset(later()).unwrap();
    assert_eq!(messages.try_recv(), Ok("gone"));
}

mod fuzz {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever a guest writes to the registers and to its memory, only the device fails.
        #[test]
        fn test_any_accesses(
            accesses in proptest::collection::vec((0_u64..0x200, any::<u32>(), 0_usize..4), 0..200),
            memory in proptest::collection::vec(any::<u8>(), 256),
        ) {
            let ram = ram();
            let (mmio, _line) = transport(rng(), &ram);
            ram.write_slice(&memory, GuestAddress(DESCRIPTORS.into())).unwrap();
            ram.write_slice(&memory, GuestAddress(AVAILABLE.into())).unwrap();
            start(&mmio, DESCRIPTORS);
            for (offset, value, log_size) in accesses {
                let data = &u64::from(value).to_le_bytes()[..1 << log_size];
                BusDevice::write(&mmio, offset, data);
                BusDevice::read(&mmio, offset, &mut [0; 8][..1 << log_size]);
            }
            mmio.reset(later()).unwrap();
            prop_assert_eq!(read(&mmio, register::VIRTIO_MMIO_STATUS), 0);
        }
    }
}
