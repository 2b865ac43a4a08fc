//! Fuzzes the registers of virtio devices with their threads: a driver sets up queues in any order, notifies, and resets while the device
//! works. A device always stops within its deadline, and is then in its power-on state.
#![no_main]

use kvm_accel::GuestRam;
use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::Irq;
use kvm_accel_machine::virtio::testing::Input;
use kvm_accel_machine::virtio::{Balloon, BalloonConfig, Mmio, Rng, VirtioDevice, Vsock};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

const RAM: usize = 1 << 20;

// Registers, by the specification's names without VIRTIO_MMIO_.
const DRIVER_FEATURES: u64 = 0x20;
const DRIVER_FEATURES_SEL: u64 = 0x24;
const QUEUE_SEL: u64 = 0x30;
const QUEUE_NUM: u64 = 0x38;
const QUEUE_READY: u64 = 0x44;
const QUEUE_NOTIFY: u64 = 0x50;
const STATUS: u64 = 0x70;
const QUEUE_DESC: u64 = 0x80;
const QUEUE_DRIVER: u64 = 0x90;
const QUEUE_DEVICE: u64 = 0xa0;
const CONFIG: u64 = 0x100;

struct Devices {
    ram: GuestRam,
    transports: Vec<Mmio>,
    /// Reported errors.
    reports: Arc<AtomicUsize>,
}

static DEVICES: LazyLock<Devices> = LazyLock::new(|| {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).expect("there is memory");
    let reports = Arc::new(AtomicUsize::new(0));
    let balloon = BalloonConfig { free_page_reporting: true, ..Default::default() };
    let devices: [Arc<dyn VirtioDevice>; 3] = [
        Arc::new(Rng::new(Path::new("/dev/zero"), None).expect("there is a /dev/zero")),
        Arc::new(Balloon::new(&balloon).expect("there is a timer")),
        Arc::new(Vsock::new(3, None).expect("there are descriptors")),
    ];
    let transports = devices.map(|device| {
        let reports = Arc::clone(&reports);
        let report = Box::new(move |_: &_| {
            reports.fetch_add(1, Ordering::Relaxed);
        });
        Mmio::new(device, ram.clone(), Irq::none(), report).expect("there are threads")
    });
    Devices { ram, transports: transports.into(), reports }
});

/// A deadline that only a hang exceeds.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(8)
}

fn read(device: &Mmio, register: u64) -> u32 {
    let mut data = [0; 4];
    device.read(register, &mut data);
    u32::from_le_bytes(data)
}

fn write(device: &Mmio, register: u64, value: u32) {
    device.write(register, &value.to_le_bytes());
}

/// Negotiates the features and sets up all queues, with descriptors, available ring and used ring at multiples of 16 KiB.
fn set_up(device: &Mmio, features: u32, size: u16) {
    for status in [1, 3] {
        write(device, STATUS, status);
    }
    for (word, features) in [(0, features), (1, 1)] {
        write(device, DRIVER_FEATURES_SEL, word);
        write(device, DRIVER_FEATURES, features);
    }
    write(device, STATUS, 11);
    for queue in 0..4 {
        write(device, QUEUE_SEL, queue);
        write(device, QUEUE_NUM, size.into());
        for (part, register) in (0..).zip([QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE]) {
            write(device, register, (queue * 4 + part) << 14);
        }
        write(device, QUEUE_READY, 1);
    }
    write(device, STATUS, 15);
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let [choice] = input.take();
    let device = &DEVICES.transports[usize::from(choice) % DEVICES.transports.len()];
    while !input.0.is_empty() {
        let [step, register] = input.take();
        let register = u64::from(register & 0x3f) * 4;
        match step % 8 {
            0 => write(device, register, u32::from_le_bytes(input.take())),
            1 => drop(read(device, register)),
            2 => {
                let mut data: [u8; 8] = input.take();
                let width = 1_usize << (step >> 6);
                device.write(CONFIG + register, &data[..width]);
                device.read(CONFIG + register, &mut data[..width]);
            }
            3 => {
                let [place, high, low] = input.take();
                let address = (u64::from(place) << 12 | u64::from(high & 15) << 8 | u64::from(low)) % (RAM as u64 - 16);
                DEVICES.ram.write_slice(&input.take::<16>(), GuestAddress(address)).expect("it is in RAM");
            }
            4 => {
                let [features, size] = input.take();
                set_up(device, features.into(), 1 << (size % 9));
            }
            5 => write(device, QUEUE_NOTIFY, u32::from(step >> 3 & 3)),
            6 => {
                device.interrupt();
                device.wait_until_quiet(later()).expect("a pause is acknowledged");
                device.resume();
            }
            _ => write(device, STATUS, 0),
        }
    }
    device.reset(later()).expect("the device stops");
    assert_eq!((read(device, STATUS), read(device, QUEUE_READY)), (0, 0), "a reset restores the power-on state");
    // Each device reports an error of the guest, and one of the host, once.
    assert!(DEVICES.reports.load(Ordering::Relaxed) <= 2 * DEVICES.transports.len(), "a guest repeats a message");
});
