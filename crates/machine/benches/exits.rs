//! Measures what the accelerator and the machine add to the kernel's cost of an exit. The same guest image runs in a loop of
//! KVM_RUN (`raw`), under [`Vcpus`] with an empty bus (`bus`), and under a whole [`Board`] (`board`).
//!
//! `cargo bench -p kvm-accel-machine --bench exits -- [--json] [--rounds N]` measures by itself. With `--ask` it reads requests
//! from standard input, one a line, and answers each with a line of JSON, so that `npm run bench` can alternate between this
//! program, Node.js and QEMU: `pio N` and `mmio N` for a round of N exits, `first-byte` for one start.
//!
//! The guest measures its loop with its time stamp counter, so an exit's time includes neither start nor console. The loop has
//! three instructions, of which one exits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark fails loudly")]

use kvm_accel::baseline::Baseline;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel::{AccelProperties, Accelerator, Bus, Event, EventSink, GuestRam, Request, StartState};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::board::{Board, BoardConfig, ComPort, FwCfgFiles};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::devices::{COM1_BASE, I8042_COMMAND_PORT, RtcConfig, SerialOutput};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{ImageRole, ram};
use std::io::{BufRead, PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const MEMORY: u64 = 16 << 20;
const EXITS: u32 = 2000;
const VARIANTS: [&str; 3] = ["raw", "bus", "board"];

fn boot(guest: &str, cmdline: &str) -> Boot {
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image(guest, Format::Pvh).unwrap());
    Boot::new(kernel, BootOptions { cmdline: cmdline.into(), ..Default::default() }).unwrap()
}

fn loaded(guest: &str, cmdline: &str) -> (GuestRam, StartState) {
    let layout = RamLayout::new(MEMORY).unwrap();
    let ram = ram::allocate(&layout, &Default::default()).unwrap();
    let start = boot(guest, cmdline).load(&layout, &ram, None, &Default::default()).unwrap();
    (ram, start)
}

/// A bus that reads all ones, keeps the output on COM1, and ends at a reset.
#[derive(Default)]
struct TrivialBus(Mutex<Vec<u8>>);

impl Bus for TrivialBus {
    fn pio_read(&self, _: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
        if port == COM1_BASE {
            self.0.lock().unwrap().extend(data);
        }
        (port == I8042_COMMAND_PORT).then_some(Request::Reset)
    }

    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&self, _: u64, _: &[u8]) -> Option<Request> {
        None
    }

    fn interrupt(&self) {}

    fn resume(&self) {}
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

fn sink() -> (Arc<Stopped>, Receiver<()>) {
    let (sender, stopped) = channel();
    (Arc::new(Stopped(sender)), stopped)
}

/// Returns what the guest wrote until it reset the machine.
fn raw(guest: &str, cmdline: &str) -> Vec<u8> {
    let (ram, start) = loaded(guest, cmdline);
    let mut console = Vec::new();
    let mut vm = Baseline::new(ram, &start).unwrap();
    vm.run(|exit| {
        if exit.write && exit.address == u64::from(COM1_BASE) {
            console.push(exit.byte);
        }
        !(exit.write && exit.address == u64::from(I8042_COMMAND_PORT))
    })
    .unwrap();
    console
}

fn bus(guest: &str, cmdline: &str) -> Vec<u8> {
    let (ram, start) = loaded(guest, cmdline);
    let accel = Accelerator::new(AccelProperties::default(), 1, ram).unwrap();
    let (sink, stopped) = sink();
    let bus = Arc::new(TrivialBus::default());
    let vcpus = accel.launch(&start, bus.clone(), sink).unwrap();
    vcpus.resume();
    stopped.recv().unwrap();
    drop(vcpus);
    std::mem::take(&mut bus.0.lock().unwrap())
}

fn board(guest: &str, cmdline: &str) -> (Board, PipeReader, Receiver<()>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (sink, stopped) = sink();
    let serial = ComPort::new(0, SerialOutput::file(OwnedFd::from(writer).into()).unwrap()).unwrap();
    let config = BoardConfig {
        accel: AccelProperties::default(),
        memory: MEMORY,
        ram: Default::default(),
        cpu: 1.into(),
        boot: boot(guest, cmdline),
        lost_tick_policy: LostTickPolicy::Delay,
        acpi: true,
        generation: None,
        firmware: None,
        chips: Default::default(),
        devices: vec![Box::new(serial), Box::new(RtcConfig::default()), Box::new(FwCfgFiles::default())],
        virtio: Vec::new(),
    };
    let (board, _) = Board::new(config, sink, &|_| Box::new(|| {}), &Default::default()).unwrap();
    board.resume();
    (board, reader, stopped)
}

fn whole_board(guest: &str, cmdline: &str) -> Vec<u8> {
    let (mut board, mut reader, stopped) = board(guest, cmdline);
    stopped.recv().unwrap();
    board.end();
    drop(board);
    let mut console = Vec::new();
    reader.read_to_end(&mut console).unwrap();
    console
}

/// Returns the time stamp counter ticks for each of `count` exits. Each round begins with another variant.
fn exits(kind: &str, count: u32, round: usize) -> [f64; 3] {
    let guest = format!("{kind}-loop");
    let cmdline = format!("count={count}");
    let mut ticks = [0.0; 3];
    for turn in 0..VARIANTS.len() {
        let variant = (round + turn) % VARIANTS.len();
        let console = match VARIANTS[variant] {
            // On a separate thread like the other variants: in a process with one thread, an ioctl is cheaper by a reference count.
            "raw" => std::thread::scope(|scope| scope.spawn(|| raw(&guest, &cmdline)).join()).unwrap(),
            "bus" => bus(&guest, &cmdline),
            _ => whole_board(&guest, &cmdline),
        };
        ticks[variant] = printed_ticks(&console) / f64::from(count);
    }
    ticks
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

/// Returns the nanoseconds per tick, from a loop that is long compared with its start and end.
fn nanoseconds_per_tick() -> f64 {
    const LONG: u32 = 20_000;
    let (ram, start) = loaded("pio-loop", &format!("count={LONG}"));
    let mut vm = Baseline::new(ram, &start).unwrap();
    let (mut begin, mut end) = (None, None);
    let mut console = Vec::new();
    vm.run(|exit| {
        match (exit.write, exit.address) {
            (true, 0xe0) => {
                end = Some(Instant::now());
                begin = begin.or(end);
            }
            (true, 0x3f8) => console.push(exit.byte),
            _ => {}
        }
        !(exit.write && exit.address == u64::from(I8042_COMMAND_PORT))
    })
    .unwrap();
    let elapsed = end.unwrap() - begin.unwrap();
    elapsed.as_secs_f64() * 1e9 / f64::from(LONG - 1) * f64::from(LONG) / printed_ticks(&console)
}

/// Returns the milliseconds from the creation of the VM to the guest's first byte: raw, and through a board's pipe.
fn first_byte(round: usize) -> [f64; 2] {
    let mut times = [0.0; 2];
    for turn in 0..2 {
        let variant = (round + turn) % 2;
        let start = Instant::now();
        if variant == 0 {
            let (ram, state) = loaded("hello", "");
            let mut vm = Baseline::new(ram, &state).unwrap();
            vm.run(|exit| !(exit.write && exit.address == u64::from(COM1_BASE))).unwrap();
            times[variant] = start.elapsed().as_secs_f64() * 1e3;
        } else {
            let (_board, mut reader, _stopped) = board("hello", "");
            reader.read_exact(&mut [0]).unwrap();
            times[variant] = start.elapsed().as_secs_f64() * 1e3;
        }
    }
    times
}

/// One line of JSON for each line of standard input.
fn answer_questions() {
    let tick = nanoseconds_per_tick();
    let mut stdout = std::io::stdout();
    for (round, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.unwrap();
        let (what, count) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "pio" | "mmio" => {
                let [raw, bus, board] = exits(what, count.parse().unwrap(), round);
                println!(r#"{{"nanosecondsPerTick":{tick},"raw":{raw},"bus":{bus},"board":{board}}}"#);
            }
            "first-byte" => {
                let [raw, board] = first_byte(round);
                println!(r#"{{"raw":{raw},"board":{board}}}"#);
            }
            other => panic!("unknown request: {other}"),
        }
        stdout.flush().unwrap();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(rounds: usize, json: bool) {
    let tick = nanoseconds_per_tick() / 1e3;
    for kind in ["pio", "mmio"] {
        let all: Vec<_> = (0..rounds).map(|round| exits(kind, EXITS, round)).collect();
        let raw = median(all.iter().map(|ticks| ticks[0]).collect()) * tick;
        let [bus, board] = [1, 2].map(|n| median(all.iter().map(|ticks| ticks[n] - ticks[0]).collect()) * tick);
        if json {
            println!(r#"{{"exit":"{kind}","raw":{raw},"bus":{bus},"board":{board},"unit":"us"}}"#);
        } else {
            println!("{kind:<10} raw {raw:.2} us, bus {bus:+.3} us, board {board:+.3} us");
        }
    }
    let all: Vec<_> = (0..rounds).map(first_byte).collect();
    let [raw, board] = [0, 1].map(|n| median(all.iter().map(|times| times[n]).collect()));
    if json {
        println!(r#"{{"first-byte":"hello","raw":{raw},"board":{board},"unit":"ms"}}"#);
    } else {
        println!("first byte raw {raw:.2} ms, board {board:.2} ms ({:.2} x)", board / raw);
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let has = |name| arguments.iter().any(|argument| argument == name);
    if has("--ask") {
        return answer_questions();
    }
    let rounds = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
    measure(rounds.map_or(50, |n| n.parse().unwrap()), has("--json"));
}
