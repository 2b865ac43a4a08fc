//! Sets of dirty pages.

use kvm_accel_kvm::fd::{PAGE, Slot};
use std::ops::Range;

/// The dirty pages of one slot, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPages {
    pub slot: Slot,
    bits: Vec<u64>,
}

impl SlotPages {
    /// Returns an empty set for a slot.
    pub fn none(slot: Slot) -> Self {
        let words = usize::try_from(slot.pages().div_ceil(64)).unwrap_or(usize::MAX);
        Self { slot, bits: vec![0; words] }
    }

    /// Adds a page. Ignores a page outside the slot.
    pub fn insert(&mut self, page: u64) {
        if page < self.slot.pages()
            && let Some(word) = usize::try_from(page / 64).ok().and_then(|index| self.bits.get_mut(index))
        {
            *word |= 1 << (page % 64);
        }
    }

    /// Adds all pages.
    pub fn insert_all(&mut self) {
        self.bits.fill(u64::MAX);
        self.trim();
    }

    /// Adds the pages of a bitmap from the kernel.
    pub fn union(&mut self, bitmap: &[u64]) {
        self.bits.iter_mut().zip(bitmap).for_each(|(mine, theirs)| *mine |= theirs);
        self.trim();
    }

    /// Returns the bits, lowest page first.
    pub fn bits(&self) -> &[u64] {
        &self.bits
    }

    /// Clears the bits beyond the last page, which have no meaning.
    fn trim(&mut self) {
        let beyond = self.slot.pages() % 64;
        if beyond > 0
            && let Some(last) = self.bits.last_mut()
        {
            *last &= (1 << beyond) - 1;
        }
    }

    /// Returns the contiguous ranges of dirty pages, as guest physical addresses, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        let mut page = 0;
        std::iter::from_fn(move || {
            let first = self.next(page, true)?;
            let end = self.next(first, false).unwrap_or_else(|| self.slot.pages());
            page = end;
            Some(self.slot.start + first * PAGE..self.slot.start + end * PAGE)
        })
    }

    /// Returns the first page from `from` on that is dirty (or clean, if `dirty` is false).
    fn next(&self, from: u64, dirty: bool) -> Option<u64> {
        let mut index = usize::try_from(from / 64).ok()?;
        let mut below = (1_u64 << (from % 64)) - 1;
        loop {
            let word = *self.bits.get(index)?;
            let candidates = if dirty { word } else { !word } & !below;
            if candidates != 0 {
                let page = index as u64 * 64 + u64::from(candidates.trailing_zeros());
                return (page < self.slot.pages()).then_some(page);
            }
            (index, below) = (index + 1, 0);
        }
    }
}

/// Dirty guest memory: contiguous ranges of pages, as guest physical addresses, in order and not adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirtyPages(Vec<Range<u64>>);

impl DirtyPages {
    /// Merges the pages of slots. Slots may be adjacent and in any order, and an earlier slot may have covered the
    /// range of a current one.
    pub fn new<'a>(slots: impl IntoIterator<Item = &'a SlotPages>) -> Self {
        let mut ranges: Vec<_> = slots.into_iter().flat_map(SlotPages::ranges).collect();
        ranges.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// Returns the ranges.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().cloned()
    }

    /// Returns the number of pages of 4 KiB.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.0.iter().map(|range| (range.end - range.start) / PAGE).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn slot(id: u32, start: u64, pages: u64) -> Slot {
        Slot { id, start, size: pages * PAGE, host: 0, read_only: false, log_dirty: true }
    }

    #[test]
    fn test_all_pages_of_neighbours_are_one_run() {
        let mut low = SlotPages::none(slot(0, 0, 70));
        let mut high = SlotPages::none(slot(1, 70 * PAGE, 3));
        low.insert_all();
        high.insert_all();
        let dirty = DirtyPages::new([&high, &low]);
        assert!(dirty.ranges().eq(std::iter::once(0..73 * PAGE)));
        assert_eq!(dirty.pages(), 73);
    }

    #[test]
    fn test_what_lies_beyond_the_slot_is_no_page() {
        let mut pages = SlotPages::none(slot(0, 0, 65));
        pages.insert(65);
        pages.insert(u64::MAX);
        pages.union(&[0, u64::MAX, u64::MAX]);
        assert!(DirtyPages::new([&pages]).ranges().eq(std::iter::once(64 * PAGE..65 * PAGE)));
    }

    proptest! {
        /// The ranges contain exactly the pages that were recorded, in any order of recording.
        #[test]
        fn test_runs_are_the_set(len in 1_u64..300, noted in proptest::collection::btree_set(0_u64..400, 0..200), bitmap in any::<bool>()) {
            let start = 0x10_0000;
            let mut pages = SlotPages::none(slot(3, start, len));
            if bitmap {
                let mut words = vec![0_u64; 7];
                for page in &noted {
                    words[usize::try_from(page / 64).unwrap()] |= 1 << (page % 64);
                }
                pages.union(&words);
            } else {
                noted.iter().for_each(|page| pages.insert(*page));
            }
            let dirty = DirtyPages::new([&pages]);
            let listed: BTreeSet<u64> =
                dirty.ranges().flat_map(|range| (range.start..range.end).step_by(4096)).map(|a| (a - start) / PAGE).collect();
            let expected: BTreeSet<u64> = noted.into_iter().filter(|page| *page < len).collect();
            prop_assert_eq!(&listed, &expected);
            prop_assert_eq!(dirty.pages(), expected.len() as u64);
            let apart = dirty.ranges().zip(dirty.ranges().skip(1)).all(|(a, b)| a.end < b.start);
            prop_assert!(apart);
        }
    }
}
