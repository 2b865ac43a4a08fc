//! Dirty tracking with a guest that writes a known set of pages. Every back end reports the same set.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use kvm_accel::dirty::Mode;
use kvm_accel::{AccelProperties, Event, EventSink};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::ImageRole;
use kvm_accel_machine::board::{Board, BoardConfig, ComPort, FwCfgFiles};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::devices::{RtcConfig, SerialOutput};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, PipeReader};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

struct Events(Sender<Event>);
impl EventSink for Events {
    fn emit(&self, event: Event) {
        // A machine that is being dropped may still emit; the test no longer listens.
        let _ = self.0.send(event);
    }
}

struct Machine {
    board: Board,
    console: BufReader<PipeReader>,
    _events: Receiver<Event>,
}

/// Creates a machine with `cpus` vCPUs that write `count` pages each, and then wait.
fn machine(dirty_ring_size: u32, cpus: u32, count: u32) -> Machine {
    let (reader, writer) = std::io::pipe().unwrap();
    let (sender, events) = channel();
    let cmdline = format!("wait=1 cpus={cpus} count={count} end=12");
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image("dirty", Format::Pvh).unwrap());
    let serial = ComPort::new(0, SerialOutput::file(OwnedFd::from(writer).into()).unwrap()).unwrap();
    let config = BoardConfig {
        accel: AccelProperties { dirty_ring_size, ..Default::default() },
        memory: 16 << 20,
        ram: Default::default(),
        lost_tick_policy: Default::default(),
        acpi: true,
        generation: None,
        firmware: None,
        chips: Default::default(),
        devices: vec![Box::new(serial), Box::new(RtcConfig::default()), Box::new(FwCfgFiles::default())],
        virtio: Vec::new(),
        cpu: cpus.into(),
        boot: Boot::new(kernel, BootOptions { cmdline, ..Default::default() }).unwrap(),
    };
    let (board, _) = Board::new(config, Arc::new(Events(sender)), &|_| Box::new(|| {}), &Default::default()).unwrap();
    Machine { board, console: BufReader::new(reader), _events: events }
}

impl Machine {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.console.read_line(&mut line).unwrap();
        line
    }
}

const AREA: Range<u64> = 4 << 20..12 << 20;
const PAGE: u64 = 4096;

/// Returns the pages that the guest's generator chooses.
fn chosen(cpus: u32, count: u32) -> BTreeSet<u64> {
    let mut pages = BTreeSet::new();
    for cpu in 0..cpus {
        let mut state = 1 + cpu * 7919;
        for _ in 0..count {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            pages.insert(AREA.start / PAGE + u64::from(state) % ((AREA.end - AREA.start) / PAGE));
        }
    }
    pages
}

/// Returns the dirty pages of the area, collected until the guest reported that it was done. The code, the stack and
/// the console's data lie outside the area.
fn seen(machine: &mut Machine) -> BTreeSet<u64> {
    let log = machine.board.dirty_log().clone();
    log.start().unwrap();
    machine.board.resume();
    assert_eq!(machine.line(), "dirty: written\n");
    let dirty = log.take().unwrap();
    let pages: BTreeSet<u64> =
        dirty.ranges().flat_map(|range| range.step_by(4096)).map(|address| address / PAGE).collect();
    assert_eq!(pages.len() as u64, dirty.pages());
    assert!(pages.iter().any(|page| *page < AREA.start / PAGE), "the guest's stack is written, too");
    pages.into_iter().filter(|page| AREA.contains(&(page * PAGE))).collect()
}

#[test]
fn test_every_back_end_sees_what_the_guest_wrote() {
    if !support::kvm() {
        return;
    }
    for cpus in [1, 2] {
        for ring in [0, 4096] {
            let mut machine = machine(ring, cpus, 300);
            let mode = machine.board.dirty_log().mode();
            assert_eq!(mode, if ring == 0 { Mode::ManualProtect } else { Mode::Ring(ring) });
            assert_eq!(seen(&mut machine), chosen(cpus, 300), "{mode:?}, {cpus} vCPUs");
        }
    }
}

#[test]
fn test_pages_that_were_taken_are_clean_until_they_are_written_again() {
    if !support::kvm() {
        return;
    }
    for ring in [0, 4096] {
        let mut machine = machine(ring, 1, 50);
        assert!(!seen(&mut machine).is_empty());
        let log = machine.board.dirty_log().clone();
        // Meanwhile the guest polls COM1, which writes no page.
        let area =
            |pages: &kvm_accel::dirty::DirtyPages| pages.ranges().filter(|range| AREA.contains(&range.start)).count();
        assert_eq!(area(&log.take().unwrap()), 0);
        assert_eq!(machine.board.serial_ports()[0].as_ref().unwrap().input(b"x"), 1);
        assert_eq!(machine.line(), "dirty: done\n");
        assert_eq!(area(&log.take().unwrap()), 0);
        log.mark_all();
        assert!(log.take().unwrap().ranges().eq(std::iter::once(0..16 << 20)));
        log.stop().unwrap();
        log.mark_all();
        assert_eq!(log.take().unwrap().pages(), 0);
        assert_eq!(log.vcpu_totals().unwrap().len(), if ring == 0 { 0 } else { 1 });
    }
}

#[test]
fn test_full_rings_are_emptied_and_lose_nothing() {
    if !support::kvm() {
        return;
    }
    // The guest writes each of 2048 pages: several times as many writes between two rounds of the reaper as the ring
    // has entries.
    let mut machine = machine(1024, 2, 20_000);
    let pages = seen(&mut machine);
    assert_eq!(pages.len() as u64, (AREA.end - AREA.start) / PAGE);
    let totals = machine.board.dirty_log().vcpu_totals().unwrap();
    assert!(totals.iter().all(|total| *total > 0) && totals.iter().sum::<u64>() >= 2048, "{totals:?}");
}
