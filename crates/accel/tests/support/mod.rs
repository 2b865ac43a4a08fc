//! A machine of one vCPU with real-mode code and a bus that records.
#![allow(dead_code, reason = "each test file uses a part")]

use kvm_accel::properties::NotifyProperties;
use kvm_accel::{
    AccelProperties, Accelerator, Bus, Event, EventSink, GuestRam, Request, StartMode, StartState, StopReason, Vcpus,
};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// Where the code is.
pub const ENTRY: u64 = 0x1000;
/// Longer than anything takes; a test that waits for so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// True where a guest can run; a missing device is a failure in CI and a reason to skip elsewhere.
pub fn kvm() -> bool {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        println!("skipped: no /dev/kvm on this host");
    }
    there
}

/// A bus that records, reads 0x5a from ports and 0xa5 from memory, and resets the machine at port 0x64.
#[derive(Default)]
pub struct RecordingBus {
    /// Whether it was a write, the address, the bytes.
    pub accesses: Mutex<Vec<(bool, u64, Vec<u8>)>>,
}

const RESET_PORT: u16 = 0x64;

impl Bus for RecordingBus {
    fn pio_read(&self, port: u16, data: &mut [u8]) {
        data.fill(0x5a);
        self.accesses.lock().unwrap().push((false, port.into(), data.to_vec()));
    }

    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
        self.accesses.lock().unwrap().push((true, port.into(), data.to_vec()));
        (port == RESET_PORT).then_some(Request::Reset)
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
}

struct Channel(Mutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        // A machine that is dropped may still tell; nobody listens then.
        let _ = self.0.lock().unwrap().send(event);
    }
}

/// A machine and what it tells.
pub struct Guest {
    pub vcpus: Vcpus,
    pub accel: Accelerator,
    pub ram: GuestRam,
    pub bus: Arc<RecordingBus>,
    events: Receiver<Event>,
}

impl Guest {
    /// Real-mode code at 0x1000, one vCPU.
    pub fn new(code: &[u8], notify: NotifyProperties) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        ram.write_slice(code, GuestAddress(ENTRY)).unwrap();
        let properties = AccelProperties { notify, ..Default::default() };
        let accel = Accelerator::new(properties, 1, ram.clone()).unwrap();
        let (sender, events) = channel();
        let bus = Arc::new(RecordingBus::default());
        let start = StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0x800 };
        let vcpus = accel.launch(&start, bus.clone(), Arc::new(Channel(Mutex::new(sender)))).unwrap();
        Self { vcpus, accel, ram, bus, events }
    }

    pub fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    pub fn stopped(&self) -> StopReason {
        loop {
            if let Event::Stopped(reason) = self.next() {
                return reason;
            }
        }
    }
}
