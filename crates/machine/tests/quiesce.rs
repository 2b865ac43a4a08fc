//! `Board::quiesce`, `reset` and `end` of a running board whose guest keeps a disk busy.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kvm_accel::{AccelProperties, Event, EventSink, StopReason};
use kvm_accel_machine::ImageRole;
use kvm_accel_machine::board::{Board, BoardConfig, FwCfgFiles};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::devices::RtcConfig;
use kvm_accel_machine::virtio::{Block, DiskConfig, transports};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::{Piece, elf64, pvh_note};
use virtio_bindings::virtio_mmio as register;

/// A timeout that only catches a hang.
const LONG: Duration = Duration::from_secs(60);

/// Requests that the guest has in flight.
const DEPTH: u16 = 4;
/// Bytes of each request.
const LEN: u32 = 1 << 20;
const CODE: u32 = 0x10_0000;
const DESCRIPTORS: u32 = 0x20_0000;
const AVAILABLE: u32 = 0x20_1000;
const USED: u32 = 0x20_2000;
const HEADERS: u32 = 0x20_3000;
const STATUS: u32 = 0x20_3100;
const TABLE: u32 = 0x20_4000;
/// The memory that only the disk writes.
const BUFFERS: u32 = 0x80_0000;
const QUEUE: u16 = 16;

/// Returns the guest's virtqueue. Its requests never change. Each has a header, a buffer and a status byte.
fn queue() -> Vec<u8> {
    let mut memory = vec![0; (TABLE - DESCRIPTORS) as usize];
    let mut put = |address: u32, bytes: &[u8]| support::put(&mut memory, (address - DESCRIPTORS) as usize, bytes);
    for n in 0..u32::from(DEPTH) {
        let sector = u64::from(n * LEN / 512);
        put(HEADERS + 16 * n + 8, &sector.to_le_bytes());
        let chain = [(HEADERS + 16 * n, 16, 1_u16), (BUFFERS + n * LEN, LEN, 3), (STATUS + n, 1, 2)];
        for (at, (address, len, flags)) in (3 * n..).zip(chain) {
            put(DESCRIPTORS + 16 * at, &u64::from(address).to_le_bytes());
            put(DESCRIPTORS + 16 * at + 8, &u32::to_le_bytes(len));
            put(DESCRIPTORS + 16 * at + 12, &flags.to_le_bytes());
            put(DESCRIPTORS + 16 * at + 14, &u16::try_from(at + 1).unwrap().to_le_bytes());
        }
    }
    for slot in 0..QUEUE {
        put(AVAILABLE + 4 + 2 * u32::from(slot), &(3 * (slot % DEPTH)).to_le_bytes());
    }
    memory
}

/// Returns the guest's writes to the transport: address and value.
fn table() -> Vec<[u32; 2]> {
    let base = u32::try_from(transports::BASE).unwrap();
    let writes = [
        (register::VIRTIO_MMIO_STATUS, 0),
        (register::VIRTIO_MMIO_STATUS, 3),
        // VIRTIO_F_VERSION_1, and no other feature.
        (register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
        (register::VIRTIO_MMIO_DRIVER_FEATURES, 1),
        (register::VIRTIO_MMIO_STATUS, 11),
        (register::VIRTIO_MMIO_QUEUE_NUM, QUEUE.into()),
        (register::VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS),
        (register::VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE),
        (register::VIRTIO_MMIO_QUEUE_USED_LOW, USED),
        (register::VIRTIO_MMIO_QUEUE_READY, 1),
        (register::VIRTIO_MMIO_STATUS, 15),
    ];
    writes.map(|(register, value)| [base + register, value]).to_vec()
}

/// Returns the code of a guest that sets the disk up and then reads without end.
fn guest() -> Vec<u8> {
    let table = table();
    let notify = u32::try_from(transports::BASE).unwrap() + register::VIRTIO_MMIO_QUEUE_NOTIFY;
    let count = u32::try_from(table.len()).unwrap();
    let word = |value: u32| value.to_le_bytes();
    let code = [
        // mov esi, TABLE; mov ecx, count
        &[0xbe][..],
        &word(TABLE),
        &[0xb9],
        &word(count),
        // write: mov edi, [esi]; mov eax, [esi + 4]; mov [edi], eax; add esi, 8; dec ecx; jnz write
        &[0x8b, 0x3e, 0x8b, 0x46, 0x04, 0x89, 0x07, 0x83, 0xc6, 0x08, 0x49, 0x75, 0xf3],
        // wait: mov ax, [used index]; cmp ax, [available index]; jne wait
        &[0x66, 0xa1],
        &word(USED + 2),
        &[0x66, 0x3b, 0x05],
        &word(AVAILABLE + 2),
        &[0x75, 0xf1],
        // add word [available index], DEPTH; mov dword [notify], 0; jmp wait
        &[0x66, 0x83, 0x05],
        &word(AVAILABLE + 2),
        &[DEPTH.to_le_bytes()[0]],
        &[0xc7, 0x05],
        &word(notify),
        &word(0),
        &[0xeb, 0xdd],
    ];
    let table = table.concat().into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
    let pieces = [
        Piece::load(CODE.into(), code.concat()),
        Piece::load(DESCRIPTORS.into(), [queue(), table].concat()),
        Piece::notes(&[pvh_note(CODE)]),
    ];
    elf64(CODE.into(), &pieces)
}

struct Events(Sender<Event>);
impl EventSink for Events {
    fn emit(&self, event: Event) {
        // A machine that is being dropped may still emit; the test no longer listens.
        let _ = self.0.send(event);
    }
}

/// A board whose disk is busy from the start.
struct Busy {
    board: Board,
    events: Receiver<Event>,
    image: PathBuf,
}

impl Busy {
    fn new(name: &str) -> Self {
        let image = std::env::temp_dir().join(format!("kvm-accel-quiesce-{}-{name}", std::process::id()));
        std::fs::write(&image, vec![0x5a; (u32::from(DEPTH) * LEN) as usize]).unwrap();
        let disk = Block::new(DiskConfig { path: image.clone(), read_only: true, ..Default::default() }).unwrap();
        let (sender, events) = channel();
        let config = BoardConfig {
            accel: AccelProperties::default(),
            memory: 16 << 20,
            ram: Default::default(),
            lost_tick_policy: Default::default(),
            acpi: true,
            generation: None,
            firmware: None,
            chips: Default::default(),
            devices: vec![Box::new(RtcConfig::default()), Box::new(FwCfgFiles::default())],
            virtio: vec![Arc::new(disk)],
            cpu: 1.into(),
            boot: Boot::new(BootImage::from_bytes(ImageRole::Kernel, guest()), BootOptions::default()).unwrap(),
        };
        let (board, _) =
            Board::new(config, Arc::new(Events(sender)), &|_| Box::new(|| {}), &Default::default()).unwrap();
        board.dirty_log().start().unwrap();
        Self { board, events, image }
    }

    /// Returns how many pages were written since the last call: of the disk's buffers, and of all RAM.
    fn written(&self) -> (u64, u64) {
        let dirty = self.board.dirty_log().take().unwrap();
        let buffers = u64::from(BUFFERS)..u64::from(BUFFERS + u32::from(DEPTH) * LEN);
        let pages = dirty.ranges().flat_map(|range| range.step_by(4096));
        (pages.filter(|page| buffers.contains(page)).count() as u64, dirty.pages())
    }

    /// Waits until the disk has completed another read.
    fn wait_for_disk(&self) {
        let deadline = Instant::now() + LONG;
        self.written();
        while self.written().0 == 0 {
            assert!(Instant::now() < deadline, "the disk does not read");
            std::thread::yield_now();
        }
    }

    /// Pauses the board and waits until the vCPU has left the guest.
    fn pause(&self) {
        self.board.pause();
        assert_eq!(self.events.recv_timeout(LONG).unwrap(), Event::Stopped(StopReason::Paused));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.image);
    }
}

#[test]
fn test_no_page_changes_between_a_quiesce_and_the_resume_and_the_disk_continues_after_it() {
    if !support::kvm() {
        return;
    }
    let busy = Busy::new("quiesce");
    busy.board.resume();
    for round in 0..30 {
        busy.wait_for_disk();
        busy.pause();
        busy.board.quiesce(Instant::now() + LONG).unwrap();
        busy.written();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(busy.written(), (0, 0), "round {round}");
        // A second call returns at once, because the disk is already quiet.
        busy.board.quiesce(Instant::now()).unwrap();
        busy.board.resume();
    }
}

#[test]
fn test_a_reset_in_the_middle_of_disk_work_leaves_a_machine_that_starts_again() {
    if !support::kvm() {
        return;
    }
    let mut busy = Busy::new("reset");
    busy.board.resume();
    for quiesced in [true, false, true, false] {
        busy.wait_for_disk();
        busy.pause();
        if quiesced {
            busy.board.quiesce(Instant::now() + LONG).unwrap();
        }
        busy.board.reset(&Default::default()).unwrap();
        busy.board.resume();
    }
    busy.wait_for_disk();
    busy.board.end();
    busy.written();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(busy.written(), (0, 0), "no page is written after the end");
}
