//! The guest's page numbers, and the host pages that contain them.

use std::collections::HashMap;
use std::ops::Range;

/// Size of a balloon page in bytes, independent of the page sizes of guest and host.
pub const PAGE: u64 = 4096;

/// Returns the addresses of pages. Adjacent pages are merged into one range.
pub fn ranges(mut numbers: Vec<u32>) -> impl Iterator<Item = Range<u64>> {
    // Linux inflates from the top of its memory downwards.
    numbers.sort_unstable();
    numbers.dedup();
    let mut numbers = numbers.into_iter().map(u64::from).peekable();
    std::iter::from_fn(move || {
        let first = numbers.next()?;
        let mut end = first + 1;
        while numbers.next_if_eq(&end).is_some() {
            end += 1;
        }
        Some(first * PAGE..end * PAGE)
    })
}

/// Huge pages that are partly in the balloon. The host can reclaim a huge page when all of its balloon pages are.
#[derive(Debug)]
pub struct Partial {
    /// Balloon pages per host page.
    per_page: u64,
    /// For each huge page, by number: its pages that are not in the balloon.
    missing: HashMap<u64, Missing>,
}

/// A bitmap of the balloon pages in a huge page.
#[derive(Debug)]
struct Missing {
    bits: Vec<u64>,
    left: u64,
}

impl Missing {
    fn all(pages: u64) -> Self {
        Self { bits: vec![u64::MAX; usize::try_from(pages.div_ceil(64)).unwrap_or(0)], left: pages }
    }

    /// Sets or clears a bit.
    fn set(&mut self, page: u64, missing: bool) {
        let Some(word) = usize::try_from(page / 64).ok().and_then(|word| self.bits.get_mut(word)) else { return };
        let bit = 1 << (page % 64);
        if (*word & bit != 0) == missing {
            return;
        }
        *word ^= bit;
        self.left = if missing { self.left + 1 } else { self.left - 1 };
    }
}

impl Partial {
    /// Creates the account for memory with host pages of `page_size` bytes; `None` if host pages are not larger than balloon pages.
    pub fn new(page_size: u64) -> Option<Self> {
        (page_size > PAGE).then(|| Self { per_page: page_size / PAGE, missing: HashMap::new() })
    }

    /// Adds a range of RAM to the balloon. Returns the huge pages that are now completely in the balloon.
    pub fn inflate(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut whole = Vec::new();
        for page in range.start / PAGE..range.end / PAGE {
            let (huge, within) = (page / self.per_page, page % self.per_page);
            let missing = self.missing.entry(huge).or_insert_with(|| Missing::all(self.per_page));
            let before = missing.left;
            missing.set(within, false);
            if before == 1 && missing.left == 0 {
                let bytes = self.per_page * PAGE;
                whole.push(huge * bytes..(huge + 1) * bytes);
            }
        }
        whole
    }

    /// Removes a range from the balloon: the guest uses it again.
    pub fn deflate(&mut self, range: Range<u64>) {
        for page in range.start / PAGE..range.end / PAGE {
            let (huge, within) = (page / self.per_page, page % self.per_page);
            if let Some(missing) = self.missing.get_mut(&huge) {
                missing.set(within, true);
                if missing.left == self.per_page {
                    self.missing.remove(&huge);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn test_neighbours_are_one_range_in_any_order() {
        let all: Vec<_> = ranges(vec![9, 3, 2, u32::MAX, 4, 3]).collect();
        assert_eq!(all, [0x2000..0x5000, 0x9000..0xa000, 0xfff_ffff_f000..0x1000_0000_0000]);
        assert_eq!(ranges(Vec::new()).count(), 0);
    }

    #[test]
    fn test_ordinary_pages_need_no_account() {
        assert!(Partial::new(4096).is_none());
    }

    proptest! {
        #[test]
        fn test_ranges_are_the_pages(numbers in prop::collection::vec(0_u32..40, 0..40)) {
            let pages: BTreeSet<u64> = numbers.iter().map(|number| u64::from(*number)).collect();
            let all: Vec<_> = ranges(numbers).collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            let listed: BTreeSet<u64> = all.into_iter().flat_map(|range| range.start / PAGE..range.end / PAGE).collect();
            prop_assert_eq!(listed, pages);
        }

        #[test]
        fn test_a_huge_page_is_given_back_when_all_of_it_is_in_the_balloon(
            steps in prop::collection::vec((any::<bool>(), 0_u64..32, 1_u64..12), 0..40),
        ) {
            // Huge pages of 8 balloon pages.
            let mut partial = Partial::new(8 * PAGE).unwrap_or_else(|| unreachable!());
            let mut model = BTreeSet::new();
            for (inflate, start, len) in steps {
                let (range, pages) = (start * PAGE..(start + len) * PAGE, start..start + len);
                let full = |model: &BTreeSet<u64>| -> BTreeSet<u64> {
                    (0..8).filter(|huge| (huge * 8..huge * 8 + 8).all(|page| model.contains(&page))).collect()
                };
                if inflate {
                    let before = full(&model);
                    model.extend(pages);
                    let new: Vec<_> = full(&model).difference(&before).map(|huge| huge * 8 * PAGE..(huge + 1) * 8 * PAGE).collect();
                    prop_assert_eq!(partial.inflate(range), new);
                } else {
                    model.retain(|page| !pages.contains(page));
                    partial.deflate(range);
                }
                prop_assert_eq!(partial.missing.len(), model.iter().map(|page| page / 8).collect::<BTreeSet<_>>().len());
            }
        }
    }
}
