//! A machine of one vCPU with real-mode code, and a bus that records its accesses.
#![allow(dead_code, reason = "each test file uses a part")]

use kvm_accel::properties::NotifyProperties;
use kvm_accel::state::{Level, MpState};
use kvm_accel::{
    AccelProperties, Accelerator, Bus, Event, EventSink, ExitKind, GuestRam, Registers, Request, Segment, StartMode,
    StartState, StopReason, Vcpus,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

/// Address of the code.
pub const ENTRY: u64 = 0x1000;
/// A last resort against a hang: a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Returns whether guests can run on this host. Fails in CI if they cannot.
pub fn kvm() -> bool {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        println!("skipped: no /dev/kvm on this host");
    }
    there
}

/// A bus that records accesses. Ports read 0x5a, memory reads 0xa5. Port 0x64 resets the machine, port 0x65 puts it to sleep.
#[derive(Default)]
pub struct RecordingBus {
    /// Each access: whether it was a write, its address, its bytes.
    pub accesses: Mutex<Vec<(bool, u64, Vec<u8>)>>,
    asleep: AtomicBool,
    wake: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

const RESET_PORT: u16 = 0x64;
const SLEEP_PORT: u16 = 0x65;

impl RecordingBus {
    /// The event that wakes the guest.
    pub fn wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Bus for RecordingBus {
    fn pio_read(&self, port: u16, data: &mut [u8]) {
        data.fill(0x5a);
        self.accesses.lock().unwrap().push((false, port.into(), data.to_vec()));
    }

    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
        self.accesses.lock().unwrap().push((true, port.into(), data.to_vec()));
        match port {
            RESET_PORT => Some(Request::Reset),
            SLEEP_PORT => {
                self.asleep.store(true, Ordering::SeqCst);
                Some(Request::Wake)
            }
            _ => None,
        }
    }

    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        data.fill(0xa5);
        self.accesses.lock().unwrap().push((false, addr, data.to_vec()));
    }

    fn mmio_write(&self, addr: u64, data: &[u8]) -> Option<Request> {
        self.accesses.lock().unwrap().push((true, addr, data.to_vec()));
        None
    }

    fn interrupt(&self) {}

    fn resume(&self) {}

    fn asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    fn on_wake(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        let _ = self.wake.set(wake);
    }
}

struct Channel(Mutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        // A machine that is dropped may still emit events without a receiver.
        let _ = self.0.lock().unwrap().send(event);
    }
}

/// A sink that sends to a channel.
pub fn sink(sender: Sender<Event>) -> Arc<dyn EventSink> {
    Arc::new(Channel(Mutex::new(sender)))
}

/// A machine and its events.
pub struct Guest {
    pub vcpus: Vcpus,
    pub accel: Accelerator,
    pub ram: GuestRam,
    pub bus: Arc<RecordingBus>,
    events: Receiver<Event>,
}

impl Guest {
    /// Creates a machine with one vCPU and real-mode code at 0x1000.
    pub fn new(code: &[u8], notify: NotifyProperties) -> Self {
        Self::in_ram(GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap(), code, notify)
    }

    /// Like `new`, with the given RAM.
    pub fn in_ram(ram: GuestRam, code: &[u8], notify: NotifyProperties) -> Self {
        Self::with(AccelProperties { notify, ..Default::default() }, 1, ram, code)
    }

    /// Like `new`, with any properties and number of vCPUs. All vCPUs but the first wait for INIT and SIPI.
    pub fn with(properties: AccelProperties, cpus: u32, ram: GuestRam, code: &[u8]) -> Self {
        let accel = Accelerator::new(properties, cpus, ram.clone()).unwrap();
        Self::on(accel, ram, code)
    }

    /// Like `new`, on an accelerator that the caller has created, with this RAM.
    pub fn on(accel: Accelerator, ram: GuestRam, code: &[u8]) -> Self {
        ram.write_slice(code, GuestAddress(ENTRY)).unwrap();
        let (sender, events) = channel();
        let bus = Arc::new(RecordingBus::default());
        let start = StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };
        let vcpus = accel.launch(&start, bus.clone(), sink(sender)).unwrap();
        Self { vcpus, accel, ram, bus, events }
    }

    pub fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no event; {}", self.whereabouts()))
    }

    /// Describes the state of the vCPU, for the message of a test that timed out.
    fn whereabouts(&self) -> String {
        let exits = [ExitKind::Io, ExitKind::Interrupted, ExitKind::Halt, ExitKind::Other]
            .map(|kind| self.vcpus.counters().exits(kind));
        self.vcpus.pause();
        let stopped = self.events.recv_timeout(PATIENCE);
        let state = self.vcpus.state(0).map(|state| (state.registers, state.mp_state, state.events));
        format!("exits {exits:?}, after a pause {stopped:?}, state {state:x?}")
    }

    pub fn stopped(&self) -> StopReason {
        loop {
            if let Event::Stopped(reason) = self.next() {
                return reason;
            }
        }
    }
}

impl Guest {
    /// Makes vCPU `vcpu` start at `rip` in real mode, without INIT and SIPI.
    pub fn start(&self, vcpu: u32, rip: u64) {
        let mut state = self.vcpus.state(vcpu).unwrap();
        let apic_base = state.registers.apic_base;
        state.registers = Registers { rip, apic_base, ..self.vcpus.state(0).unwrap().registers };
        state.mp_state = MpState::Runnable;
        self.vcpus.set_state(vcpu, state, Level::Reset).unwrap();
    }

    /// Waits until the guest has made this number of port accesses.
    pub fn wait_for_accesses(&self, count: usize) {
        let start = Instant::now();
        while self.bus.accesses.lock().unwrap().len() < count {
            assert!(start.elapsed() < PATIENCE, "{}", self.whereabouts());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Writes a state that runs `code` at 0x8000 in 64-bit user mode, with I/O rights and with the first 4 MiB mapped.
    pub fn in_user_mode(ram: GuestRam, code: &[u8]) -> Self {
        const TABLES: u64 = 0x2000;
        let guest = Self::in_ram(ram, &[], NotifyProperties::default());
        // Pages of 2 MiB, for user mode.
        let (root, middle, pages) = (TABLES, TABLES + 0x1000, TABLES + 0x2000);
        for (at, entry) in [(root, middle | 7), (middle, pages | 7), (pages, 0x87), (pages + 8, 0x20_0087)] {
            guest.ram.write_obj(entry, GuestAddress(at)).unwrap();
        }
        guest.ram.write_slice(code, GuestAddress(0x8000)).unwrap();
        let mut state = guest.vcpus.state(0).unwrap();
        let registers = &mut state.registers;
        // Segments: present, DPL 3, code or data; 64-bit code.
        let data = Segment { selector: 0x2b, base: 0, limit: 0xffff_ffff, attributes: 0xc0f3 };
        registers.segments = [data, Segment { selector: 0x33, attributes: 0xa0fb, ..data }, data, data, data, data];
        registers.control = [0x8005_0033, 0, TABLES, 0x620]; // PG WP NE ET MP PE; OSXMMEXCPT OSFXSR PAE
        registers.efer = 0xd01; // NXE LMA LME SCE
        (registers.rip, registers.rflags, registers.general[7]) = (0x8000, 0x3002, 0x9000); // IOPL 3
        guest.vcpus.set_state(0, state, Level::Reset).unwrap();
        guest
    }
}
