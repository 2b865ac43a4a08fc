//! The memory that a machine requests, before the kernel's rules are applied to it.

use crate::ram::GuestRam;
use kvm_accel_kvm::fd::PAGE;
use std::ops::Range;

/// Guest physical addresses and the RAM behind them.
///
/// Only whole pages can be mapped: the start is rounded up and the end down. A region without a whole page maps
/// nothing.
#[derive(Clone, Debug)]
pub struct Region {
    /// The first guest physical address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The RAM that backs the region.
    pub ram: GuestRam,
    /// The address within `ram` that appears at `start`: the same as `start`, unless the RAM is mapped at a second
    /// address.
    pub ram_address: u64,
    /// A guest's write causes an MMIO exit (on a kernel with KVM_CAP_READONLY_MEM; on another kernel it is a write, as
    /// under QEMU).
    pub read_only: bool,
}

impl Region {
    /// Returns writable RAM at its own addresses.
    #[must_use]
    pub fn new(ram: &GuestRam, range: Range<u64>) -> Self {
        let size = range.end.saturating_sub(range.start);
        Self { start: range.start, size, ram: ram.clone(), ram_address: range.start, read_only: false }
    }

    /// Returns the same region, read-only or not.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Returns the same RAM at another guest physical address.
    #[must_use]
    pub fn at(self, start: u64) -> Self {
        Self { start, ..self }
    }
}

/// All memory that is mapped before a machine has interrupt controllers.
#[derive(Clone, Debug)]
pub struct MachineMemory {
    /// RAM, at its own addresses.
    pub ram: GuestRam,
    /// Further regions: firmware.
    pub regions: Vec<Region>,
}

impl From<GuestRam> for MachineMemory {
    fn from(ram: GuestRam) -> Self {
        Self { ram, regions: Vec::new() }
    }
}

/// A [`Region`] with its host address in place of its RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: u64,
    pub size: u64,
    pub host: u64,
    pub read_only: bool,
}

impl Extent {
    /// Returns the whole pages in the extent, if any. The host address moves with the start.
    pub fn aligned(self) -> Option<Self> {
        let start = self.start.checked_next_multiple_of(PAGE)?;
        let delta = start - self.start;
        let size = self.size.checked_sub(delta)? & !(PAGE - 1);
        let host = self.host.checked_add(delta)?;
        // The kernel rejects an end beyond the address space. The arithmetic on slots must not overflow on one.
        start.checked_add(size)?;
        (size > 0).then_some(Self { start, size, host, ..self })
    }

    /// Splits the extent into pieces of `max` bytes and a remainder, in address order.
    pub fn split(self, max: u64) -> impl Iterator<Item = Self> {
        let mut offset = 0;
        std::iter::from_fn(move || {
            let size = (self.size - offset).min(max);
            let piece = Self { start: self.start + offset, host: self.host.wrapping_add(offset), size, ..self };
            offset += size;
            (size > 0).then_some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn extent(start: u64, size: u64) -> Extent {
        Extent { start, size, host: 0x7000_0000_0000 + start, read_only: false }
    }

    #[test]
    fn test_alignment_goes_inward_and_leaves_nothing_of_a_fraction() {
        assert_eq!(extent(0x1800, 0x2000).aligned(), Some(extent(0x2000, 0x1000)));
        assert_eq!(extent(0x1001, 0x1ffe).aligned(), None);
        assert_eq!(extent(0x1000, 0).aligned(), None);
        assert_eq!(Extent { start: u64::MAX - 1, ..extent(0, 1) }.aligned(), None);
    }

    proptest! {
        #[test]
        fn test_pieces_are_the_whole_pages(start in 0u64..1 << 40, size in 0u64..1 << 20, max in 1u64..9) {
            let whole = extent(start, size);
            let pieces: Vec<_> = whole.aligned().into_iter().flat_map(|e| e.split(max * PAGE)).collect();
            let mut at = start.next_multiple_of(PAGE);
            for piece in &pieces {
                prop_assert_eq!(piece.start, at);
                prop_assert!(piece.size > 0 && piece.size <= max * PAGE && piece.size % PAGE == 0);
                prop_assert_eq!(piece.host - piece.start, whole.host - whole.start);
                at += piece.size;
            }
            prop_assert!(at > start + size || start + size - at < PAGE, "all whole pages are there");
        }
    }
}
