//! Measures the cost of a guest's write that exits, of one that signals an eventfd, and of one that is coalesced.
//!
//! Answers each line of standard input, `pio N` or `mmio N` for a round of N writes of each kind, with a line of JSON in nanoseconds
//! per write. `npm run bench` alternates between this and other programs. The guest measures its loop of three instructions with its
//! time stamp counter. The host's clock, measured over the writes that exit, gives the length of a tick.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark fails loudly")]

use kvm_accel::io::Written;
use kvm_accel::{AccelProperties, Accelerator, Bus, Event, EventSink, Request};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::bus::{BusBuilder, BusDevice, Doorbell};
use kvm_accel_machine::devices::{COM1_BASE, COM1_PORTS, I8042, I8042_COMMAND_PORT, I8042Commands};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{ImageRole, ram};
use std::io::{BufRead, Write};
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

const MEMORY: u64 = 16 << 20;
/// The target address of the loops.
const PORT: u16 = 0xe0;
const ADDRESS: u64 = 0xd000_0000;

/// The target of the writes. It does nothing, and is fast or coalesced by its ranges.
#[derive(Default)]
struct Target {
    doorbells: Vec<Doorbell>,
    coalesced: Option<Range<u64>>,
    /// The first and the last write that arrived.
    arrived: Mutex<Option<(Instant, Instant)>>,
}

impl BusDevice for Target {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _: u64, _: &[u8]) -> Option<Request> {
        let now = Instant::now();
        self.arrived.lock().unwrap().get_or_insert((now, now)).1 = now;
        None
    }

    fn coalesced(&self) -> &[Range<u64>] {
        self.coalesced.as_slice()
    }

    fn ioeventfds(&self) -> &[Doorbell] {
        &self.doorbells
    }
}

/// A target that keeps the guest's output.
#[derive(Default)]
struct Console(Mutex<Vec<u8>>);

impl BusDevice for Console {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        if offset == 0 {
            self.0.lock().unwrap().extend(data);
        }
        None
    }
}

struct Stopped(Sender<()>);

impl EventSink for Stopped {
    fn emit(&self, event: Event) {
        if let Event::Stopped(_) = event {
            // A machine that is dropped may still emit events without a receiver.
            let _ = self.0.send(());
        }
    }
}

/// Returns the ticks of `count` writes, and the time between the first and the last that arrived.
fn run(kind: &str, count: u32, target: Target) -> (f64, Duration) {
    let options = BootOptions { cmdline: format!("count={count} store=1"), ..Default::default() };
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image(&format!("{kind}-loop"), Format::Pvh).unwrap());
    let layout = RamLayout::new(MEMORY).unwrap();
    let ram = ram::allocate(&layout, &Default::default()).unwrap();
    let start = Boot::new(kernel, options).unwrap().load(&layout, &ram, None, &Default::default()).unwrap();
    let accel = Accelerator::new(AccelProperties::default(), 1, ram).unwrap();
    let (target, console) = (Arc::new(target), Arc::new(Console::default()));
    let mut bus = BusBuilder::new()
        .ports("console", COM1_BASE, COM1_PORTS, Arc::clone(&console) as Arc<dyn BusDevice>)
        .ports("i8042", I8042_COMMAND_PORT, 1, Arc::new(I8042Commands(Arc::new(I8042::default()))))
        .ports("target", PORT, 1, Arc::clone(&target) as Arc<dyn BusDevice>)
        .memory("target", ADDRESS, 4, Arc::clone(&target) as Arc<dyn BusDevice>)
        .build()
        .unwrap();
    bus.accelerate(accel.io()).unwrap();
    let (sender, stopped) = channel();
    let vcpus = accel.launch(&start, Arc::new(bus) as Arc<dyn Bus>, Arc::new(Stopped(sender))).unwrap();
    vcpus.resume();
    stopped.recv().unwrap();
    let arrived = target.arrived.lock().unwrap().map_or(Duration::ZERO, |(first, last)| last - first);
    (printed_ticks(&console.0.lock().unwrap()), arrived)
}

fn printed_ticks(console: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(console);
    let hex = text.split("ticks 0x").nth(1).unwrap_or_else(|| panic!("the guest printed no ticks: {text}"));
    let hex = hex.split_whitespace().next().unwrap();
    // Below 2^53: less than a month of ticks.
    #[allow(clippy::cast_precision_loss)]
    let ticks = u64::from_str_radix(hex, 16).unwrap() as f64;
    ticks
}

fn round(kind: &str, count: u32) -> String {
    let event = Arc::new(EventFd::new(0).unwrap());
    let bell = Doorbell { offset: 0, written: Written::Anything, event };
    // One byte of the ports is claimed, four of the memory: a longer range than the claim is not coalesced.
    let width = if kind == "pio" { 1 } else { 4 };
    let (exit, between) = run(kind, count, Target::default());
    let (ioeventfd, _) = run(kind, count, Target { doorbells: vec![bell], ..Target::default() });
    let (coalesced, _) = run(kind, count, Target { coalesced: Some(0..width), ..Target::default() });
    // Between the first and the last write that arrives lie `count` minus 1 writes.
    let nanoseconds_per_tick = between.as_secs_f64() * 1e9 / f64::from(count - 1) * f64::from(count) / exit;
    let [exit, ioeventfd, coalesced] =
        [exit, ioeventfd, coalesced].map(|ticks| ticks / f64::from(count) * nanoseconds_per_tick);
    format!(r#"{{"exit":{exit},"ioeventfd":{ioeventfd},"coalesced":{coalesced}}}"#)
}

fn main() {
    let mut stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (kind, count) = line.split_once(' ').unwrap();
        println!("{}", round(kind, count.parse().unwrap()));
        stdout.flush().unwrap();
    }
}
