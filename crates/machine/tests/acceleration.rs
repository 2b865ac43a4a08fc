//! Writes that the kernel handles without an exit to user space, with real guests of a few bytes: coalesced ranges and
//! ioeventfds of devices on a bus.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::io::{IoAddress, Ioeventfd, Written};
use kvm_accel::{
    AccelProperties, Accelerator, Bus, Event, EventSink, ExitKind, GuestRam, Request, StartMode, StartState,
    StopReason, Vcpus,
};
use kvm_accel_machine::bus::{BusBuilder, BusDevice, Doorbell};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::kvm;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const ENTRY: u64 = 0x1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Records the accesses that arrive. A write to offset 0xf ends the machine.
#[derive(Default)]
struct Recorder {
    coalesced: Vec<Range<u64>>,
    doorbells: Vec<Doorbell>,
    accesses: Mutex<Vec<(bool, u64, Vec<u8>)>>,
}

impl BusDevice for Recorder {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0x5a);
        self.accesses.lock().unwrap().push((false, offset, data.to_vec()));
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        self.accesses.lock().unwrap().push((true, offset, data.to_vec()));
        (offset == 0xf).then_some(Request::Shutdown)
    }

    fn coalesced(&self) -> &[Range<u64>] {
        &self.coalesced
    }

    fn ioeventfds(&self) -> &[Doorbell] {
        &self.doorbells
    }
}

impl Recorder {
    fn coalescing(range: Range<u64>) -> Arc<Self> {
        Arc::new(Self { coalesced: vec![range], ..Self::default() })
    }

    fn written(&self) -> Vec<(u64, Vec<u8>)> {
        let accesses = self.accesses.lock().unwrap();
        accesses.iter().filter(|(write, ..)| *write).map(|(_, offset, data)| (*offset, data.clone())).collect()
    }

    fn accesses(&self) -> Vec<(bool, u64, Vec<u8>)> {
        self.accesses.lock().unwrap().clone()
    }
}

struct Channel(Sender<Event>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        // A machine that is being dropped may still emit; the test no longer listens.
        let _ = self.0.send(event);
    }
}

/// 16 ports from 0x10 on, and 64 bytes of memory from 1 MiB on.
const PORTS: u16 = 0x10;
const MEMORY: u64 = 1 << 20;

struct Guest {
    vcpus: Vcpus,
    events: Receiver<Event>,
    _accel: Accelerator,
}

impl Guest {
    /// Creates a guest that runs `code` at 0x1000, in `mode`.
    fn new(mode: StartMode, code: &[u8], ports: &Arc<Recorder>, memory: &Arc<Recorder>) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        ram.write_slice(code, GuestAddress(ENTRY)).unwrap();
        write_page_tables(&ram);
        let accel = Accelerator::new(AccelProperties::default(), 1, ram).unwrap();
        let builder = BusBuilder::new().ports("ports", PORTS, 16, Arc::clone(ports) as Arc<dyn BusDevice>).memory(
            "memory",
            MEMORY,
            64,
            Arc::clone(memory) as Arc<dyn BusDevice>,
        );
        let mut bus = builder.build().unwrap();
        bus.accelerate(accel.io()).unwrap();
        let (sender, events) = channel();
        let start = StartState { mode, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };
        let vcpus = accel.launch(&start, Arc::new(bus) as Arc<dyn Bus>, Arc::new(Channel(sender))).unwrap();
        vcpus.resume();
        Self { vcpus, events, _accel: accel }
    }

    fn stopped(&self) -> StopReason {
        loop {
            if let Event::Stopped(reason) = self.events.recv_timeout(PATIENCE).unwrap() {
                return reason;
            }
        }
    }
}

/// Writes page tables for long mode at 0x3000: the first 2 MiB as one identity-mapped page.
fn write_page_tables(ram: &GuestRam) {
    for (at, entry) in [(0x3000, 0x4003u64), (0x4000, 0x5003), (0x5000, 0x83)] {
        ram.write_obj(entry, GuestAddress(at)).unwrap();
    }
}

fn none() -> Arc<Recorder> {
    Arc::new(Recorder::default())
}

const SHUTDOWN: StopReason = StopReason::Guest(Request::Shutdown);

#[test]
fn coalesced_ports_are_written_without_exits_and_arrive_in_order_before_a_read() {
    if !kvm() {
        return;
    }
    let code = [
        0xb0, 0x01, // mov al, 1
        0xe6, 0x10, // out 0x10, al
        0xfe, 0xc0, // inc al
        0xe6, 0x11, // out 0x11, al
        0xe7, 0x12, // out 0x12, ax
        0xe4, 0x18, // in al, 0x18: outside the range, but of the same device
        0xe6, 0x10, // out 0x10, al
        0xe6, 0x1f, // out 0x1f, al: outside the range
    ];
    let ports = Recorder::coalescing(0..8);
    let guest = Guest::new(StartMode::Real, &code, &ports, &none());
    assert_eq!(guest.stopped(), SHUTDOWN);
    let written = |offset, data: &[u8]| (true, offset, data.to_vec());
    let read = (false, 8, vec![0x5a]);
    let expected =
        [written(0, &[1]), written(1, &[2]), written(2, &[2, 0]), read, written(0, &[0x5a]), written(0xf, &[0x5a])];
    assert_eq!(ports.accesses(), expected);
    assert_eq!(guest.vcpus.counters().exits(ExitKind::Io), 2, "the read and the last write");
}

#[test]
fn coalesced_memory_is_written_without_exits() {
    if !kvm() {
        return;
    }
    let code = [
        0xb8, 0xff, 0xff, // mov ax, 0xffff
        0x8e, 0xd8, // mov ds, ax
        0xb8, 0x34, 0x12, // mov ax, 0x1234
        0xa2, 0x10, 0x00, // mov [0x10], al: linear 0x100000
        0xa3, 0x12, 0x00, // mov [0x12], ax
        0x66, 0xa3, 0x14, 0x00, // mov [0x14], eax
        0xa2, 0x1f, 0x00, // mov [0x1f], al
    ];
    let memory = Recorder::coalescing(0..8);
    let guest = Guest::new(StartMode::Real, &code, &none(), &memory);
    assert_eq!(guest.stopped(), SHUTDOWN);
    let expected = [(0, vec![0x34]), (2, vec![0x34, 0x12]), (4, vec![0x34, 0x12, 0, 0]), (0xf, vec![0x34])];
    assert_eq!(memory.written(), expected);
    assert_eq!(guest.vcpus.counters().exits(ExitKind::Mmio), 1);
}

#[test]
fn a_full_ring_is_an_exit_and_no_write_is_lost_or_out_of_order() {
    if !kvm() {
        return;
    }
    let code = [
        0x31, 0xc0, // xor ax, ax
        0xe7, 0x10, // again: out 0x10, ax
        0x40, // inc ax
        0x3d, 0xf4, 0x01, // cmp ax, 500
        0x75, 0xf8, // jne again
        0xe6, 0x1f, // out 0x1f, al
    ];
    let ports = Recorder::coalescing(0..2);
    let guest = Guest::new(StartMode::Real, &code, &ports, &none());
    assert_eq!(guest.stopped(), SHUTDOWN);
    let mut expected: Vec<_> = (0..500u16).map(|n| (0, n.to_le_bytes().to_vec())).collect();
    expected.push((0xf, vec![0xf4]));
    assert_eq!(ports.written(), expected);
    // Current kernels coalesce 169 writes, and the 170th causes an exit: two exits, and that of the end. Older ones
    // (6.1) coalesce 85.
    let exits = guest.vcpus.counters().exits(ExitKind::Io);
    assert!((3..=6).contains(&exits), "{exits}");
}

#[test]
fn a_pause_passes_on_what_was_kept_and_asks_what_it_asks() {
    if !kvm() {
        return;
    }
    let code = [
        0xb0, 0x77, // mov al, 0x77
        0xe6, 0x10, // out 0x10, al
        0xe4, 0x60, // in al, 0x60: a port without a device
        0xe6, 0x1f, // out 0x1f, al
        0xe4, 0x60, // again: in al, 0x60
        0xeb, 0xfc, // jmp again
    ];
    let ports = Recorder::coalescing(0..16);
    let guest = Guest::new(StartMode::Real, &code, &ports, &none());
    // After two exits, both writes are in the ring.
    while guest.vcpus.counters().exits(ExitKind::Io) < 2 {
        std::thread::yield_now();
    }
    assert_eq!(ports.written(), []);
    guest.vcpus.pause();
    assert_eq!(guest.stopped(), SHUTDOWN, "the request of the last write outranks the pause");
    assert_eq!(ports.written(), [(0, vec![0x77]), (0xf, vec![0xff])]);
}

fn doorbell(offset: u64, written: Written) -> Doorbell {
    Doorbell { offset, written, event: Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()) }
}

/// Returns how often each doorbell was signalled.
fn rung(device: &Recorder) -> Vec<u64> {
    device.doorbells.iter().map(|bell| bell.event.read().unwrap_or(0)).collect()
}

#[test]
fn doorbells_at_ports_ring_for_their_size_and_value_only() {
    if !kvm() {
        return;
    }
    let mut code = vec![0xb8, 0x34, 0x12]; // mov ax, 0x1234
    for port in 0x10..0x15 {
        code.extend([0xe6, port, 0xe7, port, 0x66, 0xe7, port]); // out PORT, al; ax; eax
    }
    code.extend([0xe6, 0x1f]);
    let doorbells = vec![
        doorbell(0, Written::Anything),
        doorbell(1, Written::Byte(None)),
        doorbell(2, Written::Word(Some(0x1234))),
        doorbell(2, Written::Word(Some(0x1235))),
        doorbell(3, Written::Dword(None)),
        doorbell(4, Written::Byte(Some(0x34))),
    ];
    let ports = Arc::new(Recorder { doorbells, ..Recorder::default() });
    let guest = Guest::new(StartMode::Real, &code, &ports, &none());
    assert_eq!(guest.stopped(), SHUTDOWN);
    assert_eq!(rung(&ports), [3, 1, 1, 0, 1, 1]);
    let (byte, word, dword) = (vec![0x34], vec![0x34, 0x12], vec![0x34, 0x12, 0, 0]);
    let expected = [
        (1, &word),
        (1, &dword),
        (2, &byte),
        (2, &dword),
        (3, &byte),
        (3, &word),
        (4, &word),
        (4, &dword),
        (0xf, &byte),
    ];
    assert_eq!(ports.written(), expected.map(|(offset, data)| (offset, data.clone())));
}

/// 32-bit code that enters long mode and writes al, ax, eax and rax of 0x1122334455667788 to each of six addresses, 8 bytes apart
/// from 1 MiB on; then `out 0x1f, al`.
#[rustfmt::skip]
const LONG_MODE: &[u8] = &[
    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, // mov eax, cr4; or eax, PAE; mov cr4, eax
    0xb8, 0x00, 0x30, 0x00, 0x00, 0x0f, 0x22, 0xd8, // mov eax, 0x3000; mov cr3, eax
    0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30, // EFER |= LME
    0x0f, 0x01, 0x15, 0x78, 0x10, 0x00, 0x00, // lgdt [gdtr]
    0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, // mov eax, cr0; or eax, PG; mov cr0, eax
    0xea, 0x38, 0x10, 0x00, 0x00, 0x08, 0x00, // jmp 8:long
    0xbb, 0x00, 0x00, 0x10, 0x00, // long: mov ebx, 0x100000
    0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rax, 0x1122334455667788
    0xb9, 0x00, 0x00, 0x00, 0x00, // mov ecx, 0
    0x88, 0x03, 0x66, 0x89, 0x03, 0x89, 0x03, 0x48, 0x89, 0x03, // again: mov [rbx], al; ax; eax; rax
    0x48, 0x83, 0xc3, 0x08, 0xff, 0xc1, 0x83, 0xf9, 0x06, 0x75, 0xeb, // add rbx, 8; inc ecx; cmp ecx, 6; jne again
    0xe6, 0x1f, 0xf4, // out 0x1f, al; hlt
    0x0f, 0x1f, 0x40, 0x00, // alignment
    0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00, // GDT: none, 64-bit code
    0x0f, 0x00, 0x68, 0x10, 0x00, 0x00, // gdtr
];

#[test]
fn doorbells_in_memory_ring_for_every_size_up_to_8() {
    if !kvm() {
        return;
    }
    const VALUE: u64 = 0x1122_3344_5566_7788;
    let doorbells = vec![
        doorbell(0, Written::Anything),
        doorbell(8, Written::Byte(None)),
        doorbell(16, Written::Word(Some(0x7788))),
        doorbell(24, Written::Dword(Some(0x5566_7788))),
        doorbell(32, Written::Qword(Some(VALUE))),
        doorbell(32, Written::Qword(Some(VALUE - 1))),
        doorbell(40, Written::Qword(None)),
    ];
    let memory = Arc::new(Recorder { doorbells, ..Recorder::default() });
    let ports = none();
    let guest = Guest::new(StartMode::Protected, LONG_MODE, &ports, &memory);
    assert_eq!(guest.stopped(), SHUTDOWN);
    assert_eq!(rung(&memory), [4, 1, 1, 1, 1, 0, 1]);
    let sizes: Vec<_> = memory.written().iter().map(|(offset, data)| (*offset, data.len())).collect();
    let others = |offset, rings: usize| {
        [1, 2, 4, 8].into_iter().filter(move |size| *size != rings).map(move |size| (offset, size))
    };
    assert_eq!(
        sizes,
        others(8, 1)
            .chain(others(16, 2))
            .chain(others(24, 4))
            .chain(others(32, 8))
            .chain(others(40, 8))
            .collect::<Vec<_>>()
    );
}

#[test]
fn long_mode_writes_are_coalesced_in_every_size() {
    if !kvm() {
        return;
    }
    let memory = Recorder::coalescing(0..64);
    let guest = Guest::new(StartMode::Protected, LONG_MODE, &none(), &memory);
    assert_eq!(guest.stopped(), SHUTDOWN);
    let sizes: Vec<_> = memory.written().iter().map(|(offset, data)| (*offset, data.len())).collect();
    let expected: Vec<_> = (0..6).flat_map(|n| [1, 2, 4, 8].map(|size| (8 * n, size))).collect();
    assert_eq!((sizes, guest.vcpus.counters().exits(ExitKind::Mmio)), (expected, 0));
}

#[test]
fn the_same_doorbell_twice_is_an_error_with_its_address_and_can_be_undone() {
    if !kvm() {
        return;
    }
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let accel = Accelerator::new(AccelProperties::default(), 1, ram).unwrap();
    let event = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let bell = Ioeventfd { address: IoAddress::Mmio(0xfeb0_0000), written: Written::Dword(Some(7)), event };
    accel.io().assign(&bell).unwrap();
    let error = accel.io().assign(&bell).unwrap_err().to_string();
    assert_eq!(error, "KVM_IOEVENTFD failed for address 0xfeb00000, size 4, value 0x7: File exists");
    accel.io().deassign(&bell).unwrap();
    let error = accel.io().deassign(&bell).unwrap_err().to_string();
    assert!(error.contains("size 4, value 0x7, deassign: No such file"), "{error}");
    accel.io().coalesce(IoAddress::Mmio(0xfeb0_0000), 0x100).unwrap();
    accel.io().stop_coalescing(IoAddress::Mmio(0xfeb0_0000), 0x100).unwrap();
    let io = accel.io().clone();
    drop(accel);
    assert!(io.assign(&bell).unwrap_err().to_string().ends_with("Bad file descriptor"));
}
