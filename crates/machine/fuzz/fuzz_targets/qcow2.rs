//! A qcow2 image with changed bytes, and a guest that uses it. The image is refused, or the guest's disk works: no write reaches a table,
//! every sector keeps what was written to it, and the file stays small.
//!
//! The input: the image, the number of changes, the changes (offset and value), and then requests (kind, sector, length).
#![no_main]

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, StorageCreateOptions};
use kvm_accel::GuestRam;
use kvm_accel_machine::virtio::testing::{Ring, driver};
use kvm_accel_machine::virtio::{Block, DiskConfig, ImageFormat, VirtioDevice, Worker};
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;

const SECTOR: usize = 512;
const SECTORS: usize = 128;
/// The most bytes of the file of a disk of 64 KiB: twice the disk and its tables, in clusters of at most 4 KiB.
const LARGEST: u64 = 512 << 10;

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Images with clusters and refcounts of several sizes, partly written.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    [(512, 16), (512, 1), (1024, 64), (4096, 16)]
        .into_iter()
        .flat_map(|(cluster, width)| create(cluster, width))
        .collect()
});

fn path() -> PathBuf {
    format!("/dev/shm/kvm-accel-fuzz-qcow2-{}", std::process::id()).into()
}

fn create(cluster: usize, width: usize) -> [Vec<u8>; 2] {
    let options = StorageCreateOptions::new().filename(path()).overwrite(true);
    let storage = <Storage as imago::Storage>::create_open(options).expect("there is a /dev/shm");
    let builder = Qcow2::<Storage>::create_builder(storage).size((SECTOR * SECTORS) as u64);
    builder.cluster_size(cluster).refcount_width(width).create().expect("the image can be created");
    let empty = std::fs::read(path()).expect("the image exists");
    let mut guest = Guest::open().expect("the image is valid");
    for sector in (0..40).chain(90..128) {
        assert_eq!(guest.write(sector, &[7; SECTOR]), 0);
    }
    assert_eq!(guest.request(FLUSH, 0, &[], 0).0, 0);
    [empty, std::fs::read(path()).expect("the image exists")]
}

/// A disk and its driver.
struct Guest {
    ram: GuestRam,
    ring: Ring,
    worker: Box<dyn Worker>,
    _block: Block,
}

impl Guest {
    /// Opens the image at [`path`] for writing; `None` if it is refused.
    fn open() -> Option<Self> {
        let config = DiskConfig { path: path(), format: Some(ImageFormat::Qcow2), discard: true, ..Default::default() };
        let block = Block::new(config).ok()?;
        let (ram, driver) = driver(&block, 1 << 9).expect("the driver can be made");
        let worker = block.activate(driver);
        Some(Self { ring: Ring::new(&ram, 0), ram, worker, _block: block })
    }

    /// Performs a request. Returns its status and what it has read.
    fn request(&mut self, kind: u32, sector: usize, sent: &[u8], received: usize) -> (u8, Vec<u8>) {
        let header = [&kind.to_le_bytes()[..], &[0; 4], &(sector as u64).to_le_bytes(), sent].concat();
        // The status is the last byte.
        let answer = vec![0xff; received + 1];
        let buffer = self.ring.offer(&self.ram, &[(&header, false), (&answer, true)]);
        self.worker.notified(0).expect("the request is valid");
        while self.worker.unfinished().is_some() {
            self.worker.notified(0).expect("the request is valid");
        }
        assert_eq!(self.ring.used(&self.ram).len(), 1, "the request is completed");
        let mut read = buffer.read(&self.ram);
        (read.pop().expect("there is a status"), read)
    }

    fn write(&mut self, sector: usize, bytes: &[u8]) -> u8 {
        self.request(WRITE, sector, bytes, 0).0
    }

    fn segment(&mut self, kind: u32, sector: usize, sectors: usize, flags: u32) -> u8 {
        let sectors = u32::try_from(sectors).expect("a small number");
        let segment = [&(sector as u64).to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat();
        self.request(kind, 0, &segment, 0).0
    }

    /// Compares the disk with what is known of it, and completes `known` by what can be read.
    fn compare(&mut self, known: &mut [Option<Vec<u8>>]) {
        for (sector, known) in known.iter_mut().enumerate() {
            let (status, read) = self.request(READ, sector, &[], SECTOR);
            match known {
                Some(known) => assert!(status == 0 && *known == read, "sector {sector} is not what was written"),
                None => *known = (status == 0).then_some(read),
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [image, changes, input @ ..] = input else { return };
    let mut bytes = IMAGES[usize::from(*image) % IMAGES.len()].clone();
    let (changes, requests) = input.split_at((usize::from(changes % 16) * 3).min(input.len()));
    for change in changes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    std::fs::write(path(), &bytes).expect("there is a /dev/shm");
    let Some(mut guest) = Guest::open() else { return };
    let mut known = vec![None; SECTORS];
    guest.compare(&mut known);
    for (number, [kind, sector, sectors]) in requests.as_chunks::<3>().0.iter().take(64).enumerate() {
        let sector = usize::from(*sector) % SECTORS;
        let sectors = (usize::from(*sectors) % 16 + 1).min(SECTORS - sector);
        let range = sector..sector + sectors;
        let fill = u8::try_from(number + 1).expect("a small number");
        let (status, left) = match kind % 5 {
            0 | 1 => (guest.write(sector, &vec![fill; sectors * SECTOR]), Some(vec![fill; SECTOR])),
            2 => (guest.segment(WRITE_ZEROES, sector, sectors, u32::from(kind / 5 % 2)), Some(vec![0; SECTOR])),
            3 => (guest.segment(DISCARD, sector, sectors, 0), None),
            _ => (guest.request(FLUSH, 0, &[], 0).0, None),
        };
        if kind % 5 < 4 {
            known[range].fill(left.filter(|_| status == 0));
        }
    }
    guest.compare(&mut known);
    assert_eq!(guest.request(FLUSH, 0, &[], 0).0, 0, "the tables can be written");
    drop(guest);
    let len = std::fs::metadata(path()).expect("the image exists").len();
    assert!(len <= LARGEST, "the file has {len} bytes");
    // A table that the guest had written would not be consistent.
    Guest::open().expect("the image is still valid").compare(&mut known);
});
