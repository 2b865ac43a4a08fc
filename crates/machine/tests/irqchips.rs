//! One guest gives the same result with each irqchip mode. Also tests level-triggered interrupts of an IOAPIC outside
//! the kernel.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kvm_accel::properties::KernelIrqchip;
use kvm_accel::{AccelProperties, Accelerator, Bus, Event, EventSink, Request, Vcpus};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::ImageRole;
use kvm_accel_machine::board::{Board, BoardConfig, BoardError, ComPort, FwCfgFiles};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::bus::{BusBuilder, BusDevice};
use kvm_accel_machine::devices::{RtcConfig, SerialOutput};
use kvm_accel_machine::interrupts::UserChips;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{MIB, Ram, kvm};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const PATIENCE: Duration = Duration::from_secs(60);

struct Events(Mutex<Sender<Event>>);

impl EventSink for Events {
    fn emit(&self, event: Event) {
        // A machine that is being dropped may still emit; the test no longer listens.
        let _ = self.0.lock().unwrap().send(event);
    }
}

fn board(
    kernel_irqchip: KernelIrqchip,
    guest: &str,
    format: Format,
    cmdline: &str,
    cpus: u32,
) -> Result<Ran, BoardError> {
    let (reader, writer) = std::io::pipe().unwrap();
    let (sender, events) = channel();
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image(guest, format).unwrap());
    let serial = ComPort::new(0, SerialOutput::file(OwnedFd::from(writer).into()).unwrap()).unwrap();
    let config = BoardConfig {
        accel: AccelProperties { kernel_irqchip, ..Default::default() },
        memory: 16 << 20,
        ram: Default::default(),
        cpu: cpus.into(),
        boot: Boot::new(kernel, BootOptions { cmdline: cmdline.into(), ..Default::default() }).unwrap(),
        lost_tick_policy: Default::default(),
        acpi: true,
        generation: None,
        firmware: None,
        chips: Default::default(),
        devices: vec![Box::new(serial), Box::new(RtcConfig::default()), Box::new(FwCfgFiles::default())],
        virtio: Vec::new(),
    };
    let (board, _) =
        Board::new(config, Arc::new(Events(Mutex::new(sender))), &|_| Box::new(|| {}), &Default::default())?;
    Ok(Ran { board, reader, events })
}

struct Ran {
    board: Board,
    reader: std::io::PipeReader,
    events: Receiver<Event>,
}

impl Ran {
    /// Returns what the guest wrote until it reset its machine.
    fn console(mut self) -> String {
        self.board.resume();
        let stopped = self.events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(stopped, Event::Stopped(kvm_accel::StopReason::Guest(Request::Reset)));
        self.board.end();
        drop(self.board);
        let mut console = String::new();
        self.reader.read_to_string(&mut console).unwrap();
        console
    }
}

const MODES: [KernelIrqchip; 3] = [KernelIrqchip::On, KernelIrqchip::Split, KernelIrqchip::Off];

#[test]
fn test_timer_and_serial_port_interrupt_alike_through_the_pic() {
    if !kvm() {
        return;
    }
    for mode in MODES {
        let console = board(mode, "irqchips", Format::Pvh, "ticks=20", 1).unwrap().console();
        assert_eq!(
            console,
            "irqchips: timer through the PIC: 20 interrupts\n\
             irqchips: serial port through the PIC: 20 interrupts\n\
             irqchips: done\n",
            "{mode:?}"
        );
    }
}

#[test]
fn test_timer_and_serial_port_interrupt_alike_through_the_ioapic() {
    if !kvm() {
        return;
    }
    for mode in [KernelIrqchip::On, KernelIrqchip::Split] {
        let console = board(mode, "irqchips", Format::Multiboot, "x ticks=5 ioapic=1", 2).unwrap().console();
        assert_eq!(
            console,
            "irqchips: timer through the PIC: 5 interrupts\n\
             irqchips: serial port through the PIC: 5 interrupts\n\
             irqchips: timer through the IOAPIC: 5 interrupts\n\
             irqchips: serial port through the IOAPIC: 5 interrupts\n\
             irqchips: done\n",
            "{mode:?}"
        );
    }
}

#[test]
fn test_other_guests_do_not_care() {
    if !kvm() {
        return;
    }
    for guest in ["hello", "string-io"] {
        let consoles = MODES.map(|mode| board(mode, guest, Format::Multiboot, "", 1).unwrap().console());
        assert!(
            consoles[0].len() > 20 && consoles.iter().all(|console| *console == consoles[0]),
            "{guest}: {consoles:?}"
        );
    }
}

#[test]
fn test_processors_start_in_split_mode_and_off_has_only_one() {
    if !kvm() {
        return;
    }
    let mut lines: Vec<_> = board(KernelIrqchip::Split, "smp", Format::Pvh, "cpus=2", 2)
        .unwrap()
        .console()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["smp: done", "smp: processor 0 wrote 8", "smp: processor 1 wrote 8"]);
    let Err(BoardError::Accel(error)) = board(KernelIrqchip::Off, "smp", Format::Pvh, "cpus=2", 2) else {
        panic!("two vCPUs without local APICs")
    };
    assert_eq!(error.code(), "ERR_ACCEL_PROPERTY");
    assert!(error.to_string().contains("more than one vCPU"), "{error}");
}

#[test]
fn test_a_halted_vcpu_without_local_apic_is_paused_resumed_and_ended() {
    if !kvm() {
        return;
    }
    // The guest halts with the timer masked. Waiting for ticks that never arrive would keep it busy; an endless count
    // keeps it halted between ticks.
    let Ran { mut board, events, reader } =
        board(KernelIrqchip::Off, "irqchips", Format::Pvh, "ticks=1000000000", 1).unwrap();
    for _ in 0..20 {
        board.resume();
        std::thread::sleep(Duration::from_millis(5));
        board.pause();
        assert_eq!(events.recv_timeout(PATIENCE).unwrap(), Event::Stopped(kvm_accel::StopReason::Paused));
    }
    board.reset(&Default::default()).unwrap();
    board.resume();
    board.end();
    drop(reader);
}

/// Forwards the bytes that the guest writes to port 0xe0.
struct Report(Mutex<Sender<u8>>);

impl BusDevice for Report {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&self, _: u64, data: &[u8]) -> Option<Request> {
        self.0.lock().unwrap().send(data[0]).unwrap();
        None
    }
}

struct Guest {
    _vcpus: Vcpus,
    chips: Arc<UserChips>,
    accel: Accelerator,
    reported: Receiver<u8>,
}

/// Creates a machine with `kernel-irqchip=split` whose guest takes level-triggered interrupts of pin 11.
fn level_triggered() -> Guest {
    let ram = Ram::of(2 * MIB);
    let options = BootOptions { cmdline: "pin=11 level=1".into(), ..Default::default() };
    let start = ram.load(image("interrupts", Format::Pvh).unwrap(), options).unwrap();
    let properties = AccelProperties { kernel_irqchip: KernelIrqchip::Split, ..Default::default() };
    let mut accel = Accelerator::new(properties, 1, ram.memory.clone()).unwrap();
    let lines = kvm_accel_machine::interrupts::Lines::new(&mut accel, KernelIrqchip::Split, Default::default());
    let kvm_accel_machine::interrupts::Lines::User(chips) = &lines else { panic!("the kernel has the IOAPIC") };
    let chips = Arc::clone(chips);
    let (sender, reported) = channel();
    let bus = BusBuilder::new().ports("report", 0xe0, 1, Arc::new(Report(Mutex::new(sender))));
    let bus: Arc<dyn Bus> = Arc::new(lines.place(bus).build().unwrap());
    let (events, _) = channel();
    let vcpus = accel.launch(&start, bus, Arc::new(Events(Mutex::new(events)))).unwrap();
    vcpus.resume();
    assert_eq!(reported.recv_timeout(PATIENCE).unwrap(), 0);
    Guest { _vcpus: vcpus, chips, accel, reported }
}

const PIN_VECTOR: u8 = 0x40;

#[test]
fn test_a_level_of_the_ioapic_is_sent_again_after_its_end_until_it_falls() {
    if !kvm() {
        return;
    }
    let guest = level_triggered();
    guest.chips.set_line(11, true);
    for _ in 0..5 {
        assert_eq!(guest.reported.recv_timeout(PATIENCE).unwrap(), PIN_VECTOR);
    }
    guest.chips.set_line(11, false);
    // Interrupts in flight may still arrive; after them, none does.
    while guest.reported.recv_timeout(Duration::from_millis(200)).is_ok() {}
    guest.chips.set_line(11, true);
    assert_eq!(guest.reported.recv_timeout(PATIENCE).unwrap(), PIN_VECTOR);
}

#[test]
fn test_the_end_of_an_irqfds_interrupt_signals_its_resample_eventfd() {
    if !kvm() {
        return;
    }
    let guest = level_triggered();
    let resample = EventFd::new(EFD_NONBLOCK).unwrap();
    let irqfd = guest.accel.interrupts().irqfd_with_resample(11, resample.try_clone().unwrap()).unwrap();
    for _ in 0..3 {
        irqfd.raise();
        assert_eq!(guest.reported.recv_timeout(PATIENCE).unwrap(), PIN_VECTOR);
        let signalled = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            resample.read().ok()
        });
        assert_eq!(signalled, Some(1));
    }
}
