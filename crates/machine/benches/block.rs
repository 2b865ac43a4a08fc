//! Measures the cost of a disk beside its file: 4 KiB reads by the device, with its transport and thread, and by this thread.
//!
//! Answers each line of standard input, `DEPTH N` for N reads with DEPTH of them offered at a time, with a line of JSON in
//! nanoseconds per read. `npm run bench` alternates between this and other programs.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails loudly")]

use kvm_accel::GuestRam;
use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::Irq;
use kvm_accel_machine::virtio::{Block, DiskConfig, Mmio};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use virtio_bindings::virtio_mmio as register;
use vm_memory::{Bytes, GuestAddress};

const DESCRIPTORS: u32 = 0x1000;
const AVAILABLE: u32 = 0x2000;
const USED: u32 = 0x3000;
const HEADERS: u64 = 0x4000;
const DATA: u64 = 0x1_0000;
const READ: u64 = 4096;
/// Size of the image in bytes. The whole image is in the page cache.
const IMAGE: u64 = 16 << 20;
/// Returns the offset of the `n`th read.
const fn place(n: u64) -> u64 {
    n.wrapping_mul(2_654_435_761) % (IMAGE / READ) * READ
}

/// A driver of a disk.
struct Driver {
    ram: GuestRam,
    mmio: Mmio,
    interrupt: Receiver<()>,
    made: u16,
}

impl Driver {
    fn new(image: &str) -> Self {
        let block = Block::new(DiskConfig { path: image.into(), read_only: true, ..Default::default() }).unwrap();
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let (raised, interrupt) = channel();
        let irq = Irq::edge(move || _ = raised.send(()));
        let mmio = Mmio::new(Arc::new(block), ram.clone(), irq, Box::new(|_| {})).unwrap();
        let driver = Self { ram, mmio, interrupt, made: 0 };
        // Feature VIRTIO_F_VERSION_1 only.
        driver.write(register::VIRTIO_MMIO_STATUS, 3);
        driver.write(register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        driver.write(register::VIRTIO_MMIO_DRIVER_FEATURES, 1);
        driver.write(register::VIRTIO_MMIO_STATUS, 11);
        driver.write(register::VIRTIO_MMIO_QUEUE_NUM, 256);
        driver.write(register::VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS);
        driver.write(register::VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE);
        driver.write(register::VIRTIO_MMIO_QUEUE_USED_LOW, USED);
        driver.write(register::VIRTIO_MMIO_QUEUE_READY, 1);
        driver.write(register::VIRTIO_MMIO_STATUS, 15);
        driver
    }

    fn write(&self, offset: u32, value: u32) {
        assert!(BusDevice::write(&self.mmio, offset.into(), &value.to_le_bytes()).is_none());
    }

    /// Offers `depth` reads, rings once, and waits for all.
    fn read(&mut self, first: u64, depth: u16) {
        for n in 0..depth {
            let at = u64::from(n);
            let header = HEADERS + 32 * at;
            let sector = place(first + at) / 512;
            self.ram.write_slice(&[0; 8], GuestAddress(header)).unwrap();
            self.ram.write_obj(sector, GuestAddress(header + 8)).unwrap();
            let chain = [(header, 16_u32, 1_u16), (DATA + READ * at, 4096, 3), (header + 16, 1, 2)];
            for (part, (address, len, flags)) in (0..).zip(chain) {
                let descriptor = GuestAddress(u64::from(DESCRIPTORS) + 16 * (3 * at + part));
                let next = 3 * n + u16::try_from(part).unwrap() + 1;
                let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
                self.ram.write_obj([address, rest], descriptor).unwrap();
            }
            let slot = u64::from(self.made.wrapping_add(n) % 256);
            self.ram.write_obj(3 * n, GuestAddress(u64::from(AVAILABLE) + 4 + 2 * slot)).unwrap();
        }
        self.made = self.made.wrapping_add(depth);
        self.ram.write_obj(self.made, GuestAddress(u64::from(AVAILABLE) + 2)).unwrap();
        self.write(register::VIRTIO_MMIO_QUEUE_NOTIFY, 0);
        while self.ram.read_obj::<u16>(GuestAddress(u64::from(USED) + 2)).unwrap() != self.made {
            self.interrupt.recv().unwrap();
        }
    }
}

fn main() {
    let image = format!("{}/kvm-accel-bench-{}", std::env::temp_dir().display(), std::process::id());
    std::fs::write(&image, vec![1; usize::try_from(IMAGE).unwrap()]).unwrap();
    let mut driver = Driver::new(&image);
    let file = File::open(&image).unwrap();
    std::fs::remove_file(&image).unwrap();
    driver.read(0, 1);
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (depth, count) = line.split_once(' ').unwrap();
        let (depth, count): (u16, u32) = (depth.parse().unwrap(), count.parse().unwrap());
        let start = Instant::now();
        for first in (0..u64::from(count)).step_by(depth.into()) {
            driver.read(first, depth);
        }
        let device = start.elapsed();
        let mut buffer = [0; 4096];
        let start = Instant::now();
        for n in 0..u64::from(count) {
            file.read_exact_at(&mut buffer, place(n)).unwrap();
        }
        let [device, file] = [device, start.elapsed()].map(|time| time.as_secs_f64() * 1e9 / f64::from(count));
        println!(r#"{{"device":{device},"file":{file}}}"#);
        std::io::stdout().flush().unwrap();
    }
}
