#![allow(clippy::unwrap_used)]

use super::pages::{Partial, ranges};
use super::worker::inflated;
use super::*;
use crate::virtio::interface::testing::{self, RAM, Ring};
use kvm_accel::{GuestRam, GuestRegion};
use std::sync::atomic::AtomicUsize;
use vm_memory::{Bytes, GuestAddress, MmapRegion};

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
const STATISTICS: usize = 2;
const REPORTING: usize = 3;

struct Guest {
    balloon: Balloon,
    ram: GuestRam,
    worker: Box<dyn Worker>,
    rings: Vec<Ring>,
}

fn guest(config: &BalloonConfig, features: u64) -> Guest {
    let balloon = Balloon::new(config).unwrap();
    let (ram, driver) = testing::driver(&balloon, features).unwrap();
    let rings = (0..4).map(|queue| Ring::new(&ram, queue)).collect();
    let worker = balloon.activate(driver);
    Guest { balloon, ram, worker, rings }
}

fn reporting() -> BalloonConfig {
    BalloonConfig { free_page_reporting: true, ..BalloonConfig::default() }
}

impl Guest {
    fn numbers(&mut self, queue: usize, numbers: &[u32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.rings[queue].offer(&self.ram, &[(&bytes, false)]);
        self.worker.notified(queue).unwrap();
        assert_eq!(self.rings[queue].used(&self.ram), [0]);
    }

    fn write(&self, page: u64) {
        self.ram.write_obj(7_u8, GuestAddress(page * PAGE)).unwrap();
    }

    fn read(&self, page: u64) -> u8 {
        self.ram.read_obj(GuestAddress(page * PAGE)).unwrap()
    }
}

#[test]
fn test_inflated_pages_read_as_zero_and_others_are_unchanged() {
    let mut guest = guest(&BalloonConfig::default(), 0);
    let last = RAM / PAGE - 1;
    for page in [last - 2, last - 1, last] {
        guest.write(page);
    }
    let numbers = [last, last - 1, last, last + 1, u32::MAX.into()].map(|page: u64| u32::try_from(page).unwrap());
    guest.numbers(INFLATE, &numbers);
    assert_eq!([last - 2, last - 1, last].map(|page| guest.read(page)), [7, 0, 0]);
    guest.write(last);
    guest.numbers(DEFLATE, &numbers[..1]);
    assert_eq!(guest.read(last), 7);
}

#[test]
fn test_only_so_many_pages_of_a_chain_are_read_and_an_odd_end_is_none() {
    let mut guest = guest(&BalloonConfig::default(), 0);
    let page = RAM / PAGE - 1;
    guest.write(page);
    let number = u32::try_from(page).unwrap().to_le_bytes();
    let many = [vec![0xff; 4 * 4096], number.to_vec()].concat();
    for buffer in [&many[..], &number[..3]] {
        guest.rings[INFLATE].offer(&guest.ram, &[(buffer, false)]);
    }
    guest.worker.notified(INFLATE).unwrap();
    assert_eq!((guest.rings[INFLATE].used(&guest.ram).len(), guest.read(page)), (2, 7));
}

#[test]
fn test_a_stretch_of_chains_is_taken_at_a_time() {
    let mut guest = guest(&BalloonConfig::default(), 0);
    for _ in 0..6 {
        guest.rings[INFLATE].offer(&guest.ram, &[(&[0xff; 4], false)]);
    }
    for (taken, unfinished) in [(4, Some(INFLATE)), (2, None)] {
        guest.worker.notified(INFLATE).unwrap();
        assert_eq!((guest.rings[INFLATE].used(&guest.ram).len(), guest.worker.unfinished()), (taken, unfinished));
    }
}

#[test]
fn test_a_report_gives_back_whole_pages_unless_they_are_poisoned() {
    for (features, poison, expected) in [
        (FEATURE_STATISTICS | FEATURE_REPORTING, 1_u32, 0),
        (FEATURE_STATISTICS | FEATURE_REPORTING | FEATURE_PAGE_POISON, 0, 0),
        (FEATURE_STATISTICS | FEATURE_REPORTING | FEATURE_PAGE_POISON, 0xaaaa_aaaa, 1),
    ] {
        let mut guest = guest(&reporting(), features);
        guest.balloon.write_config(12, &poison.to_le_bytes());
        // The buffer covers one whole page and parts of two others.
        let buffer = guest.rings[REPORTING].offer(&guest.ram, &[(&[1; 0x800], true), (&[1; 0x2000], true)]);
        guest.worker.notified(REPORTING).unwrap();
        assert_eq!(guest.rings[REPORTING].used(&guest.ram), [0]);
        let bytes = buffer.read(&guest.ram);
        assert_eq!((bytes[0], bytes[0x7ff], bytes[0x800], bytes[0x17ff], bytes[0x1800]), (1, 1, expected, expected, 1));
    }
}

#[test]
fn test_queues_have_the_numbers_of_what_was_agreed_on() {
    let mut guest = guest(&reporting(), FEATURE_REPORTING);
    let buffer = guest.rings[2].offer(&guest.ram, &[(&[1; 0x2000], true)]);
    guest.worker.notified(2).unwrap();
    assert_eq!((guest.rings[2].used(&guest.ram), buffer.read(&guest.ram)[0x1000]), (vec![0], 0));
    assert!(guest.balloon.statistics().is_none());
    assert_eq!(Balloon::new(&BalloonConfig::default()).unwrap().queues().len(), 3);
}

#[test]
fn test_statistics_are_asked_for_when_it_is_time() {
    let interval = Duration::from_millis(1);
    let mut guest =
        guest(&BalloonConfig { statistics_interval: interval, ..BalloonConfig::default() }, FEATURE_STATISTICS);
    let entry = |tag: u16, value: u64| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
    guest.worker.ready(0).unwrap();
    let first = [entry(4, 1000), entry(99, 1)].concat();
    guest.rings[STATISTICS].offer(&guest.ram, &[(&first, false)]);
    guest.worker.notified(STATISTICS).unwrap();
    assert!(guest.rings[STATISTICS].used(&guest.ram).is_empty(), "the buffer is held");
    let statistics = guest.balloon.statistics().unwrap();
    assert_eq!((statistics.get(Statistic::Free), statistics.get(Statistic::Total)), (Some(1000), None));
    assert_eq!(testing::serve(&mut *guest.worker, None).unwrap(), 1);
    assert_eq!(guest.rings[STATISTICS].used(&guest.ram), [0]);
    guest.worker.ready(0).unwrap();
    // Two buffers at once, which violates the protocol: the device returns the first one.
    for value in [1, 2] {
        guest.rings[STATISTICS].offer(&guest.ram, &[(&entry(5, value), false)]);
    }
    guest.worker.notified(STATISTICS).unwrap();
    assert_eq!(guest.rings[STATISTICS].used(&guest.ram), [0]);
    assert_eq!(guest.balloon.statistics().unwrap().get(Statistic::Total), Some(2));
}

#[test]
fn test_a_target_interrupts_and_a_change_is_reported_once_until_it_is_read() {
    let balloon = Balloon::new(&BalloonConfig::default()).unwrap();
    let changes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&changes);
    balloon.on_change(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    balloon.set_target(5);
    let (_ram, driver) = testing::driver(&balloon, 0).unwrap();
    let interrupt = driver.config.clone();
    let worker = balloon.activate(driver);
    balloon.set_target(6);
    assert!(format!("{interrupt:?}").contains("generation: 1"), "{interrupt:?}");
    let mut config = [0; 8];
    balloon.read_config(0, &mut config);
    assert_eq!(config, [6, 0, 0, 0, 0, 0, 0, 0]);
    for actual in [1_u32, 2, 3] {
        balloon.write_config(4, &actual.to_le_bytes());
    }
    assert_eq!((changes.load(Ordering::SeqCst), balloon.actual()), (1, 3));
    balloon.write_config(4, &3_u32.to_le_bytes());
    assert_eq!(changes.load(Ordering::SeqCst), 1);
    // A reset empties the balloon, but the target stays.
    drop(worker);
    assert_eq!((changes.load(Ordering::SeqCst), balloon.actual()), (2, 0));
    balloon.read_config(0, &mut config);
    assert_eq!(config[0], 6);
    balloon.set_target(7);
    assert!(format!("{interrupt:?}").contains("generation: 1"), "there is no driver: {interrupt:?}");
}

#[test]
fn test_an_invalid_ring_ends_only_the_worker() {
    for queue in 0..4 {
        let mut guest = guest(&reporting(), FEATURE_STATISTICS | FEATURE_REPORTING);
        guest.rings[queue].corrupt(&guest.ram);
        assert!(guest.worker.notified(queue).is_err());
    }
}

#[test]
fn test_huge_pages_of_ram_go_back_when_they_are_whole() {
    const HUGE: usize = 4 << 12;
    let region = GuestRegion::new(MmapRegion::new(2 * HUGE).unwrap(), GuestAddress(0)).unwrap();
    let ram = GuestRam::from_regions(vec![region], HUGE, false).unwrap();
    ram.write_slice(&[7; 2 * HUGE], GuestAddress(0)).unwrap();
    let kept = || (0..8).filter(|page| ram.read_obj::<u8>(GuestAddress(page * PAGE)).unwrap() == 7).count();
    let mut partial = Partial::new(HUGE as u64).unwrap();
    inflate(&ram, Some(&mut partial), ranges(vec![0, 1, 2, 5, 8, u32::MAX]));
    assert_eq!(kept(), 8);
    partial.deflate(0..PAGE);
    inflate(&ram, Some(&mut partial), ranges(vec![3]));
    assert_eq!(kept(), 8, "one was taken back");
    inflate(&ram, Some(&mut partial), ranges(vec![0]));
    assert_eq!(kept(), 4);
    // A driver that may use pages before it deflates: whole huge pages within one request are reclaimed.
    inflate(&ram, None, ranges(vec![4, 5, 6]));
    assert_eq!(kept(), 4);
    inflate(&ram, None, ranges(vec![4, 5, 6, 7]));
    assert_eq!(kept(), 0);
}

/// Inflates like the worker, but in a single step.
fn inflate(ram: &GuestRam, partial: Option<&mut Partial>, ranges: impl Iterator<Item = std::ops::Range<u64>>) {
    inflated(ram, partial, ranges).into_iter().for_each(|range| drop(ram.discard(range)));
}
