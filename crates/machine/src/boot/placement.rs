//! Allocates ranges of the guest's RAM while a guest is loaded.

use crate::layout::{HOLE_START, PAGE_SIZE, RamLayout};
use std::ops::Range;

/// The lowest address of boot data. Before they have read all boot data, guests copy their own trampolines for other
/// processors and for real mode into the first 64 KiB (kvm-unit-tests: 0x8000 to 0xda30).
pub(super) const BOOT_DATA_FLOOR: u64 = 0x1_0000;

/// The ranges that are taken. Ranges are only added.
pub(super) struct Placement {
    layout: RamLayout,
    /// The usable ranges of the guest's memory map, below 4 GiB, where 32-bit boot protocols can point to.
    usable: Vec<Range<u64>>,
    /// The taken ranges, in address order, without overlap.
    taken: Vec<Range<u64>>,
}

/// Why a fixed range is unavailable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    NoRam,
    Taken(Range<u64>),
}

impl Placement {
    pub fn new(layout: &RamLayout) -> Self {
        let usable = layout.memory_map().into_iter().filter(|range| range.end <= HOLE_START).collect();
        Self { layout: *layout, usable, taken: Vec::new() }
    }

    /// Takes a range at an address that the image requires, in any RAM.
    pub fn fixed(&mut self, range: Range<u64>) -> Result<(), Conflict> {
        if !self.layout.contains(&range) {
            return Err(Conflict::NoRam);
        }
        let next = self.taken.partition_point(|taken| taken.end <= range.start);
        match self.taken.get(next) {
            Some(taken) if taken.start < range.end => Err(Conflict::Taken(taken.clone())),
            _ => {
                self.taken.insert(next, range);
                Ok(())
            }
        }
    }

    /// Takes `size` bytes of usable RAM at the lowest multiple of `align` from `floor` on.
    pub fn lowest(&mut self, size: u64, align: u64, floor: u64) -> Option<u64> {
        let fit = |gap: Range<u64>| {
            let start = gap.start.max(floor).next_multiple_of(align);
            (start.checked_add(size)? <= gap.end).then_some(start)
        };
        let start = self.gaps().into_iter().find_map(fit)?;
        self.fixed(start..start + size).ok().map(|()| start)
    }

    /// Takes `size` bytes of usable RAM in pages of their own, as high as possible below 4 GiB and not beyond `last`.
    pub fn highest(&mut self, size: u64, last: u64) -> Option<u64> {
        let fit = |gap: Range<u64>| {
            let start = gap.end.min(last.saturating_add(1)).checked_sub(size)? / PAGE_SIZE * PAGE_SIZE;
            (start >= gap.start.max(BOOT_DATA_FLOOR)).then_some(start)
        };
        let start = self.gaps().into_iter().rev().find_map(fit)?;
        self.fixed(start..start + size).ok().map(|()| start)
    }

    /// Returns the end of the highest range taken below 4 GiB.
    pub fn end(&self) -> u64 {
        self.taken.iter().map(|taken| taken.end).filter(|end| *end <= HOLE_START).max().unwrap_or(0)
    }

    fn gaps(&self) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        for ram in &self.usable {
            let mut start = ram.start;
            for taken in self.taken.iter().filter(|taken| taken.start < ram.end && ram.start < taken.end) {
                gaps.push(start..taken.start.max(start));
                start = taken.end.max(start);
            }
            gaps.push(start.min(ram.end)..ram.end);
        }
        gaps
    }
}
