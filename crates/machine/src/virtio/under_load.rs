//! Tests every device under load on its thread: a pause leaves guest memory unchanged, a stop is acknowledged, and no request is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use super::block::{Block, DiskConfig, ImageFormat};
use super::console::{Console, HostEnd, PortKind};
use super::interface::{ConfigInterrupt, Interrupt};
use super::io_thread::{IoThread, ring};
use super::net::{Backend, Net, NetConfig};
use super::throttle::ThrottleConfig;
use super::{Balloon, BalloonConfig, Driver, Rng, VirtQueue, VirtioDevice, Vsock, WorkerError};
use crate::devices::Irq;
use kvm_accel::GuestRam;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT};
use virtio_queue::{Queue, QueueT};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};
use vmm_sys_util::eventfd::EventFd;

const RAM: u64 = 8 << 20;
const PAGE: usize = 4096;
/// Bytes for the rings of a queue: the descriptor table, at a quarter the available ring, at half the used ring.
const STRIDE: u64 = 0x4000;
/// Address of the indirect tables.
const TABLES: u64 = 1 << 20;
/// Address of the headers and statuses.
const SMALL: u64 = TABLES + (1 << 20);
/// Address of the buffers, which take the rest of RAM.
const DATA: u64 = 4 << 20;
const DATA_LEN: u32 = 2 << 20;

/// A deadline that only a hang exceeds.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A device on its thread, and its driver.
struct Running {
    thread: IoThread,
    bells: Vec<Arc<EventFd>>,
    ram: GuestRam,
    errors: Receiver<WorkerError>,
    sizes: Vec<u16>,
    next_table: u64,
}

/// A buffer: address, length, whether the device writes to it.
type Part = (u64, u32, bool);

impl Running {
    fn new(device: &dyn VirtioDevice, features: u64) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
        let sizes = device.queues().to_vec();
        let bells: Vec<_> = sizes.iter().map(|_| Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())).collect();
        let (sender, errors) = channel();
        let thread = IoThread::new(device.name(), bells.clone(), move |error| sender.send(error).unwrap()).unwrap();
        let this = Self { thread, bells, ram, errors, sizes, next_table: TABLES };
        this.start(device, features);
        this
    }

    /// Activates the device, as a driver does after a reset.
    fn start(&self, device: &dyn VirtioDevice, features: u64) {
        let interrupt = Arc::new(Interrupt::new(Irq::none()));
        let queue = |(number, size): (u64, &u16)| {
            let base = number * STRIDE;
            self.ram.write_slice(&[0; STRIDE as usize], GuestAddress(base)).unwrap();
            let mut queue = Queue::new(*size).unwrap();
            queue.set_size(*size);
            queue.try_set_desc_table_address(GuestAddress(base)).unwrap();
            queue.try_set_avail_ring_address(GuestAddress(base + STRIDE / 4)).unwrap();
            queue.try_set_used_ring_address(GuestAddress(base + STRIDE / 2)).unwrap();
            queue.set_ready(true);
            VirtQueue::new(queue, self.ram.clone(), Arc::clone(&interrupt)).unwrap()
        };
        let queues = (0..).zip(&self.sizes).map(queue).collect();
        let (config, stop) = (ConfigInterrupt(interrupt), self.thread.flag().clone());
        self.thread.start(device.activate(Driver { features, queues, config, stop }));
    }

    /// Writes an indirect table.
    fn table(&mut self, parts: &[Part]) -> Part {
        let address = self.next_table;
        for (index, &(address, len, writable)) in parts.iter().enumerate() {
            let more = index + 1 < parts.len();
            let flags = u16::from(more) | u16::from(writable) << 1;
            let mut raw = [0; 16];
            raw[..8].copy_from_slice(&address.to_le_bytes());
            raw[8..12].copy_from_slice(&len.to_le_bytes());
            raw[12..14].copy_from_slice(&flags.to_le_bytes());
            raw[14..].copy_from_slice(&(index as u16 + 1).to_le_bytes());
            self.ram.write_slice(&raw, GuestAddress(self.next_table)).unwrap();
            self.next_table += 16;
        }
        assert!(self.next_table <= SMALL);
        (address, 16 * parts.len() as u32, false)
    }

    /// Fills the descriptor table of a queue. Each descriptor is a chain of its own, with the indirect tables in turn.
    fn fill(&self, queue: usize, tables: &[Part]) {
        let base = queue as u64 * STRIDE;
        for (head, (address, len, _)) in (0..self.sizes[queue]).zip(tables.iter().cycle()) {
            const INDIRECT: u16 = 4;
            let mut raw = [0; 16];
            raw[..8].copy_from_slice(&address.to_le_bytes());
            raw[8..12].copy_from_slice(&len.to_le_bytes());
            raw[12..14].copy_from_slice(&INDIRECT.to_le_bytes());
            self.ram.write_slice(&raw, GuestAddress(base + 16 * u64::from(head))).unwrap();
            self.ram.write_obj(head, GuestAddress(base + STRIDE / 4 + 4 + 2 * u64::from(head))).unwrap();
        }
    }

    fn used(&self, queue: usize) -> u16 {
        self.ram.read_obj(GuestAddress(queue as u64 * STRIDE + STRIDE / 2 + 2)).unwrap()
    }

    /// Makes `count` chains available beyond those that were used, and signals the doorbell.
    fn offer(&self, queue: usize, count: u16) {
        let index = self.used(queue).wrapping_add(count);
        self.ram.write_obj(index, GuestAddress(queue as u64 * STRIDE + STRIDE / 4 + 2)).unwrap();
        ring(&self.bells[queue]);
    }

    fn offer_all(&self) {
        (0..self.sizes.len()).for_each(|queue| self.offer(queue, self.sizes[queue]));
    }

    fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM as usize];
        self.ram.read_slice(&mut bytes, GuestAddress(0)).unwrap();
        bytes
    }

    fn forget_dirty_pages(&self) {
        MmapRegion::bitmap(self.ram.iter().next().unwrap()).reset();
    }

    fn dirty_pages(&self) -> Vec<bool> {
        let region = self.ram.iter().next().unwrap();
        (0..RAM as usize / PAGE).map(|page| region.bitmap().dirty_at(page * PAGE)).collect()
    }

    /// Pauses the device, and returns guest memory, which must not change.
    fn still(&self) -> Vec<u8> {
        self.thread.pause();
        self.thread.wait_until_quiet(later()).unwrap();
        let dirty = self.dirty_pages();
        let memory = self.memory();
        std::thread::sleep(Duration::from_millis(5));
        assert!(self.memory() == memory, "guest memory has changed during a pause");
        assert_eq!(self.dirty_pages(), dirty, "a page was noted after the pause was acknowledged");
        memory
    }

    /// Pauses and resumes the device repeatedly while `load` keeps it busy, then stops it.
    fn check(&self, mut load: impl FnMut(&Self)) {
        let mut changed = 0;
        let mut before = self.still();
        for round in 0.. {
            if round >= 20 && changed > 0 {
                break;
            }
            assert!(round < 100, "the device was not busy");
            self.forget_dirty_pages();
            self.thread.resume();
            // On a slow host the device needs longer to do anything.
            let until = Instant::now() + Duration::from_millis(if changed > 0 { 5 } else { 5 + round });
            while Instant::now() < until {
                load(self);
                std::thread::yield_now();
            }
            let after = self.still();
            let dirty = self.dirty_pages();
            for (page, (before, after)) in before.chunks(PAGE).zip(after.chunks(PAGE)).enumerate() {
                changed += usize::from(before != after);
                assert!(before == after || dirty[page], "page {page} has changed and is not in the dirty log");
            }
            before = after;
        }
        self.thread.resume();
        load(self);
        self.stop();
    }

    /// Waits until `is` returns true.
    fn until(&self, is: impl Fn() -> bool) {
        let deadline = later();
        while !is() {
            assert_eq!(self.errors.try_iter().collect::<Vec<_>>(), []);
            assert!(Instant::now() < deadline, "the device hangs");
            std::thread::yield_now();
        }
    }

    /// Stops the device. Guest memory must not change after that.
    fn stop(&self) {
        self.thread.stop(later()).unwrap();
        let memory = self.memory();
        std::thread::sleep(Duration::from_millis(5));
        assert!(self.memory() == memory, "guest memory has changed after a stop");
        assert_eq!(self.errors.try_iter().collect::<Vec<_>>(), []);
    }
}

/// A file that is deleted when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("kvm-accel-load-{}-{name}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns bytes that differ from page to page.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = vec![0; len];
    for word in bytes.as_chunks_mut().0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *word = state.to_le_bytes();
    }
    bytes
}

const BLOCK: u64 = 1 << VIRTIO_BLK_F_FLUSH;

/// How a disk does its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Ring,
    Calls,
}

/// Creates a disk with a file of which half is data and the rest a hole.
fn disk(name: &str, len: u64) -> (Block, Temporary) {
    let file = Temporary::new(name);
    let image = File::create(&file.0).unwrap();
    image.write_all_at(&pattern(16 << 20, 7), 0).unwrap();
    image.set_len(len).unwrap();
    let block = Block::new(DiskConfig { path: file.0.clone(), discard: true, ..Default::default() }).unwrap();
    (block, file)
}

/// A disk that does not use io_uring.
struct Plain(Block);

impl VirtioDevice for Plain {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn id(&self) -> u32 {
        self.0.id()
    }
    fn features(&self) -> u64 {
        self.0.features()
    }
    fn queues(&self) -> &[u16] {
        self.0.queues()
    }
    fn activate(&self, driver: Driver) -> Box<dyn super::Worker> {
        self.0.activate_without_ring(driver)
    }
}

fn device(block: Block, by: By) -> Box<dyn VirtioDevice> {
    match by {
        By::Ring => Box::new(block),
        By::Calls => Box::new(Plain(block)),
    }
}

/// Creates a request in an indirect table. Its data buffers are the same 2 MiB of guest memory, repeated.
fn request(running: &mut Running, kind: u32, sector: u64, bytes: u64) -> Part {
    let at = SMALL + running.next_table % 0x8_0000;
    let header = [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat();
    running.ram.write_slice(&header, GuestAddress(at)).unwrap();
    let mut parts = vec![(at, 16, false)];
    let data = u64::from(DATA_LEN);
    parts.extend((0..bytes / data).map(|_| (DATA, DATA_LEN, kind == VIRTIO_BLK_T_IN)));
    parts.push((at + 16, 1, true));
    running.table(&parts)
}

#[test]
fn a_stop_is_answered_in_the_middle_of_128_disk_requests_of_508_mib() {
    // A chain of the greatest length: the queue's 256 descriptors, with the header and the status.
    const LEN: u64 = 254 * DATA_LEN as u64;
    for by in [By::Ring, By::Calls] {
        for kind in [VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT] {
            let (block, file) = disk(&format!("stop-{by:?}-{kind}"), LEN);
            let device = device(block, by);
            let mut running = Running::new(&*device, BLOCK);
            let table = request(&mut running, kind, 0, LEN);
            running.fill(0, &[table]);
            running.ram.write_obj(0xff_u8, GuestAddress(DATA)).unwrap();
            running.offer(0, 128);
            // True once the device has begun the request.
            let begun = || match kind {
                VIRTIO_BLK_T_IN => running.ram.read_obj::<u8>(GuestAddress(DATA)).unwrap() != 0xff,
                _ => {
                    let mut first = [0];
                    File::open(&file.0).unwrap().read_exact_at(&mut first, 0).unwrap();
                    first == [0xff]
                }
            };
            running.until(begun);
            running.stop();
            assert_eq!(running.used(0), 0, "requests take turns, so none can have been done");
            // The device works after the stop.
            running.start(&*device, BLOCK);
            let table = request(&mut running, VIRTIO_BLK_T_IN, 0, DATA_LEN.into());
            running.fill(0, &[table]);
            running.offer(0, 1);
            running.until(|| running.used(0) == 1);
            running.stop();
        }
    }
}

#[test]
fn a_pause_in_the_middle_of_large_and_small_disk_requests_is_still() {
    for by in [By::Ring, By::Calls] {
        let (block, _file) = disk(&format!("still-{by:?}"), 32 << 20);
        let device = device(block, by);
        let mut running = Running::new(&*device, BLOCK);
        let reads = [0, 4096, 8192, 16384].map(|sector| request(&mut running, VIRTIO_BLK_T_IN, sector, 4 << 20));
        let small: Vec<_> = (0..12_u64)
            .map(|n| {
                let at = SMALL + 0x9_0000 + 32 * n;
                let header = [VIRTIO_BLK_T_IN.to_le_bytes().as_slice(), &[0; 4], &(n * 99).to_le_bytes()].concat();
                running.ram.write_slice(&header, GuestAddress(at)).unwrap();
                let parts = [(at, 16, false), (DATA + (2 << 20) + 4096 * n, 4096, true), (at + 16, 1, true)];
                running.table(&parts)
            })
            .collect();
        running.fill(0, &[&reads[..], &small].concat());
        running.offer_all();
        running.check(Running::offer_all);
    }
}

#[test]
fn large_requests_continue_after_pauses_and_every_byte_is_right() {
    for by in [By::Ring, By::Calls] {
        let (block, file) = disk(&format!("exact-{by:?}"), 32 << 20);
        let device = device(block, by);
        let mut running = Running::new(&*device, BLOCK);
        let mut expected = std::fs::read(&file.0).unwrap();
        // Each round uses another part of these bytes, so that the data differs without being generated again.
        let random = pattern(8 << 20, 11);
        let mut interrupted = 0;
        for round in 0..1000_u64 {
            // The buffers are no multiples of sectors or slices.
            let (sector, write) = (round % 16 * 1024, round % 2 == 1);
            let (kind, at) = if write { (VIRTIO_BLK_T_OUT, SMALL) } else { (VIRTIO_BLK_T_IN, SMALL + 64) };
            let header = [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat();
            running.ram.write_slice(&header, GuestAddress(at)).unwrap();
            let len = (4 << 20) - 512;
            let mut parts = vec![(at, 16, false)];
            let mut done = 0;
            while done < len {
                let part = (100_003).min(len - done);
                parts.push((DATA + done, part as u32, !write));
                done += part;
            }
            parts.push((at + 16, 1, true));
            running.next_table = TABLES;
            let table = running.table(&parts);
            running.fill(0, &[table]);
            let data = &random[round as usize * 24..][..len as usize];
            running.ram.write_slice(data, GuestAddress(DATA)).unwrap();
            running.ram.write_obj(0xff_u8, GuestAddress(at + 16)).unwrap();
            let next = (round + 1) as u16;
            running.offer(0, 1);
            while running.used(0) != next {
                running.thread.pause();
                running.thread.wait_until_quiet(later()).unwrap();
                interrupted += usize::from(running.used(0) != next);
                running.thread.resume();
                std::thread::yield_now();
            }
            assert_eq!(running.ram.read_obj::<u8>(GuestAddress(at + 16)).unwrap(), 0);
            let place = sector as usize * 512..sector as usize * 512 + len as usize;
            if write {
                expected[place.clone()].copy_from_slice(data);
            }
            let mut bytes = vec![0; len as usize];
            if write {
                File::open(&file.0).unwrap().read_exact_at(&mut bytes, place.start as u64).unwrap();
            } else {
                running.ram.read_slice(&mut bytes, GuestAddress(DATA)).unwrap();
            }
            assert!(bytes == expected[place], "round {round}, {by:?}");
            if interrupted >= 5 && round >= 5 {
                break;
            }
        }
        assert!(interrupted >= 5, "too few requests were interrupted: {interrupted}");
        running.stop();
        assert!(std::fs::read(&file.0).unwrap() == expected);
    }
}

#[test]
fn a_stop_is_answered_in_the_middle_of_discards_of_2_gib() {
    for format in [ImageFormat::Raw, ImageFormat::Qcow2] {
        for by in [By::Ring, By::Calls] {
            let file = Temporary::new(&format!("discard-{format:?}-{by:?}"));
            match format {
                ImageFormat::Raw => File::create(&file.0).unwrap().set_len(4 << 30).unwrap(),
                ImageFormat::Qcow2 => super::block::create_qcow2(&file.0, 4 << 30),
            }
            let config = DiskConfig { path: file.0.clone(), discard: true, format: Some(format), ..Default::default() };
            let device = device(Block::new(config).unwrap(), by);
            let mut running = Running::new(&*device, BLOCK);
            let at = SMALL;
            let header = [VIRTIO_BLK_T_DISCARD.to_le_bytes().as_slice(), &[0; 12]].concat();
            let segment = [[0; 8].as_slice(), &((2_u32 << 21) - 1).to_le_bytes(), &[0; 4]].concat();
            running.ram.write_slice(&[header, segment].concat(), GuestAddress(at)).unwrap();
            let table = running.table(&[(at, 32, false), (at + 32, 1, true)]);
            running.fill(0, &[table]);
            running.offer(0, 256);
            running.still();
            running.thread.resume();
            running.stop();
            // A discard completes if it is not interrupted.
            running.start(&*device, BLOCK);
            running.fill(0, &[table]);
            running.ram.write_obj(0xff_u8, GuestAddress(at + 32)).unwrap();
            running.offer(0, 1);
            running.until(|| running.used(0) == 1);
            assert_eq!(running.ram.read_obj::<u8>(GuestAddress(at + 32)).unwrap(), 0, "{format:?} {by:?}");
        }
    }
}

/// Returns a socket whose peer sends and receives endlessly, until it is closed.
fn endless(sends: impl Fn() -> Vec<u8> + Send + 'static) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut reader = theirs.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    std::thread::spawn(move || {
        let mut writer = theirs;
        while writer.write_all(&sends()).is_ok() {}
    });
    ours
}

/// Creates a chain of the greatest length for this queue, with descriptors of `len` bytes each.
fn long_chain(running: &mut Running, queue: usize, address: u64, len: u32, writable: bool) -> Part {
    let longest = u64::from(running.sizes[queue]);
    let parts: Vec<_> = (0..longest).map(|part| (address + u64::from(len) * part, len, writable)).collect();
    running.table(&parts)
}

#[test]
fn a_network_whose_peer_sends_without_end_into_long_chains_pauses_and_stops() {
    const MERGEABLE: u64 = 1 << virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
    for (len, frame) in [(8, 60_000_usize), (64, 1500), (1, 100)] {
        let socket = endless(move || {
            let frame = pattern(frame.next_multiple_of(8), Instant::now().elapsed().as_nanos() as u64);
            [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
        });
        let backend = Backend::stream(socket.into()).unwrap();
        let config = NetConfig { backend, mac: [2, 0, 0, 0, 0, 1], mtu: None, throttle: ThrottleConfig::default() };
        let net = Net::new(config).unwrap();
        let mut running = Running::new(&net, MERGEABLE);
        let receive = long_chain(&mut running, 0, DATA, len, true);
        let transmit = long_chain(&mut running, 1, DATA + (1 << 20), 16, false);
        running.fill(0, &[receive]);
        running.fill(1, &[transmit]);
        running.offer_all();
        running.check(Running::offer_all);
        // The back end is available to the next driver.
        running.start(&net, MERGEABLE);
        running.fill(0, &[receive]);
        running.fill(1, &[transmit]);
        running.offer_all();
        running.check(Running::offer_all);
    }
}

#[test]
fn a_console_with_endless_input_and_output_pauses_and_stops() {
    let ports = vec![(PortKind::Console, HostEnd::stream(endless(|| pattern(4096, 3))))];
    let console = Console::new(ports).unwrap();
    let mut running = Running::new(&console, 0);
    let input = long_chain(&mut running, 0, DATA, 8, true);
    let output = long_chain(&mut running, 1, DATA + (1 << 20), 2048, false);
    running.fill(0, &[input]);
    running.fill(1, &[output]);
    running.offer_all();
    running.check(Running::offer_all);
}

#[test]
fn an_entropy_device_pauses_and_stops() {
    let rng = Rng::new(Path::new("/dev/urandom"), None).unwrap();
    let mut running = Running::new(&rng, 0);
    let table = long_chain(&mut running, 0, DATA, 64, true);
    running.fill(0, &[table]);
    running.offer_all();
    running.check(Running::offer_all);
}

#[test]
fn a_balloon_that_gives_back_all_memory_again_and_again_pauses_and_stops() {
    const REPORTING: u64 = 1 << 5;
    let balloon = Balloon::new(&BalloonConfig { free_page_reporting: true, ..Default::default() }).unwrap();
    let mut running = Running::new(&balloon, REPORTING);
    // Single pages with a gap of a page between them, in descending order, which is the worst order.
    let numbers: Vec<u8> =
        (0..512_u32).rev().flat_map(|page| (DATA as u32 / PAGE as u32 + page * 2).to_le_bytes()).collect();
    running.ram.write_slice(&numbers, GuestAddress(SMALL)).unwrap();
    let inflate = running.table(&[(SMALL, numbers.len() as u32, false)]);
    let report = running.table(&[(DATA, 2 << 20, true), (DATA + (2 << 20), 2 << 20, true)]);
    for (queue, table) in [inflate, inflate, report].into_iter().enumerate() {
        running.fill(queue, &[table]);
    }
    running.offer_all();
    let mut count = 0_u64;
    running.check(|running| {
        count += 1;
        running.ram.write_obj(count, GuestAddress(DATA + count % 1024 * PAGE as u64)).unwrap();
        running.offer_all();
    });
}

#[test]
fn a_socket_device_whose_programs_send_without_end_pauses_and_stops() {
    let vsock = Vsock::new(3, None).unwrap();
    let listener = vsock.listen(52, 16, Box::new(|| {})).unwrap();
    let mut running = Running::new(&vsock, 0);
    let header = |op: u16, len: u32| {
        let ports = [1000_u32.to_le_bytes(), 52_u32.to_le_bytes()].concat();
        let rest = [&len.to_le_bytes()[..], &1_u16.to_le_bytes(), &op.to_le_bytes(), &[0; 4]].concat();
        // A credit of 2 GiB stands for an unlimited one.
        let credit = [(1_u32 << 31).to_le_bytes(), [0; 4]].concat();
        [&3_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &ports, &rest, &credit].concat()
    };
    let receive = running.table(&[(DATA, 44 + 4096, true)]);
    running.ram.write_slice(&header(1, 0), GuestAddress(SMALL)).unwrap();
    running.ram.write_slice(&header(5, 1000), GuestAddress(SMALL + 64)).unwrap();
    let connect = running.table(&[(SMALL, 44, false)]);
    let data = running.table(&[(SMALL + 64, 44, false), (DATA + (1 << 20), 1000, false)]);
    running.fill(0, &[receive]);
    running.fill(1, &[connect]);
    running.offer(0, 128);
    running.offer(1, 1);
    running.until(|| running.used(0) == 1);
    let accepted = listener.accept().unwrap();
    let (mut writer, mut reader) = (accepted.socket.try_clone().unwrap(), accepted.socket);
    std::thread::spawn(move || while writer.write_all(&pattern(4096, 5)).is_ok() {});
    std::thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while reader.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    running.fill(1, &[data]);
    running.check(|running| {
        running.offer(0, 128);
        running.offer(1, 8);
    });
}
