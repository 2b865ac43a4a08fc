//! RAM of any size lies at the right addresses.

use kvm_accel_machine::layout::{HOLE_END, HOLE_START, RamLayout};
use kvm_accel_machine::ram;
use proptest::prelude::*;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn invalid_sizes_are_refused_with_the_rule() {
    for (size, rule) in [
        (0, "too small: expected at least 1 MiB"),
        (MIB - 4096, "too small: expected at least 1 MiB"),
        (MIB + 1, "not a multiple of the page size"),
        (1 << 52, "too large: expected at most 4 PiB"),
        (u64::MAX, "too large: expected at most 4 PiB"),
    ] {
        let error = RamLayout::new(size).unwrap_err();
        assert_eq!((error.code(), error.option()), ("ERR_MACHINE_CONFIG", "memory"));
        assert!(error.to_string().contains(rule), "{error}");
    }
}

#[test]
fn memory_that_this_process_cannot_map_is_an_error() {
    let layout = RamLayout::new((1 << 52) - GIB).unwrap();
    let error = ram::allocate(&layout, &Default::default()).unwrap_err();
    assert_eq!(error.option(), "memory");
    assert!(error.to_string().contains("cannot map memory"), "{error}");
}

#[test]
fn the_smallest_machine_has_the_first_640_kib() {
    assert_eq!(RamLayout::new(MIB).unwrap().memory_map(), std::slice::from_ref(&(0..0x9_fc00)));
}

#[test]
fn ram_above_3_gib_continues_above_4_gib() {
    let layout = RamLayout::new(5 * GIB).unwrap();
    assert_eq!(layout.low(), 0..3 * GIB);
    assert_eq!(layout.high(), Some(4 * GIB..6 * GIB));
    assert_eq!(layout.memory_map(), [0..0x9_fc00, MIB..3 * GIB, 4 * GIB..6 * GIB]);
    let ram = ram::allocate(&layout, &Default::default()).unwrap();
    let regions: Vec<_> = ram.iter().map(|region| (region.start_addr().0, region.len())).collect();
    assert_eq!(regions, [(0, 3 * GIB), (4 * GIB, 2 * GIB)]);
}

proptest! {
    #[test]
    fn ranges_sum_to_the_size_and_stay_out_of_the_hole(pages in 256u64..(1 << 40) - (1 << 18)) {
        let layout = RamLayout::new(pages * 4096).unwrap();
        let ranges: Vec<_> = layout.ranges().collect();
        prop_assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), layout.size());
        for range in &ranges {
            prop_assert!(!range.is_empty());
            prop_assert!(range.end <= HOLE_START || range.start >= HOLE_END);
            prop_assert!(layout.contains(range));
            prop_assert!(!layout.contains(&(range.start..range.end + 1)));
        }
    }

    #[test]
    fn the_memory_map_is_ordered_ram_without_the_legacy_area(pages in 256u64..(1 << 24)) {
        let layout = RamLayout::new(pages * 4096).unwrap();
        let map = layout.memory_map();
        for range in &map {
            prop_assert!(!range.is_empty() && layout.contains(range));
            prop_assert!(range.end <= 0x9_fc00 || range.start >= 0x10_0000);
        }
        prop_assert!(map.windows(2).all(|pair| pair[0].end <= pair[1].start));
        let legacy = 0x10_0000 - 0x9_fc00;
        prop_assert_eq!(map.iter().map(|range| range.end - range.start).sum::<u64>() + legacy, layout.size());
    }
}
