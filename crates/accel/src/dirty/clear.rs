//! Computes the KVM_CLEAR_DIRTY_LOG calls: in pieces that do not make the kernel hold its lock for long, each aligned
//! as the kernel requires, and none where no page is dirty.

use std::ops::Range;

/// Number of pages in one call: 1 GiB. A multiple of 64.
const CHUNK: u64 = 1 << 18;

/// One call: a range of pages of the slot, and the words of the bitmap for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearCall {
    pub first_page: u64,
    pub pages: u32,
    pub words: Range<usize>,
}

/// Returns the calls that clear exactly the set bits of `bits`, the bitmap of a slot of `pages`.
pub fn clear_calls(bits: &[u64], pages: u64) -> impl Iterator<Item = ClearCall> {
    (0..pages).step_by(usize::try_from(CHUNK).unwrap_or(usize::MAX)).filter_map(move |first_page| {
        let end = pages.min(first_page + CHUNK);
        let words = usize::try_from(first_page / 64).ok()?..usize::try_from(end.div_ceil(64)).ok()?;
        let dirty = bits.get(words.clone())?.iter().any(|word| *word != 0);
        dirty.then_some(ClearCall { first_page, pages: u32::try_from(end - first_page).ok()?, words })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Every dirty page is in exactly one call, a clean range causes no call, and the kernel's rules hold.
        #[test]
        fn test_calls_cover_what_is_dirty(pages in 1_u64..3 * CHUNK, dirty in proptest::collection::btree_set(0_u64..3 * CHUNK, 0..20)) {
            let dirty: BTreeSet<u64> = dirty.into_iter().filter(|page| *page < pages).collect();
            let mut bits = vec![0_u64; usize::try_from(pages.div_ceil(64)).unwrap()];
            for page in &dirty {
                bits[usize::try_from(page / 64).unwrap()] |= 1 << (page % 64);
            }
            let mut covered = BTreeSet::new();
            for call in clear_calls(&bits, pages) {
                prop_assert_eq!(call.first_page % 64, 0);
                prop_assert!(call.pages % 64 == 0 || call.first_page + u64::from(call.pages) == pages);
                prop_assert_eq!(call.words.len() as u64, u64::from(call.pages).div_ceil(64));
                prop_assert_eq!(call.words.start as u64 * 64, call.first_page);
                for (index, word) in call.words.clone().zip(&bits[call.words.clone()]) {
                    for bit in (0..64).filter(|bit| word & (1 << bit) != 0) {
                        prop_assert!(covered.insert(index as u64 * 64 + bit));
                    }
                }
            }
            prop_assert_eq!(covered, dirty);
        }
    }

    #[test]
    fn test_a_clean_slot_needs_no_call() {
        assert_eq!(clear_calls(&[0; 100], 6400).count(), 0);
    }
}
