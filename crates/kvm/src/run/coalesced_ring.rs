//! The ring of kept writes. One page for the whole VM, mapped into every vCPU's shared pages: `first` is ours, `last` and
//! the entries are the kernel's.

use super::mapping::Mapping;
use crate::io::KeptWrite;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const PAGE_SIZE: usize = 4096;
const HEADER: usize = 8;
/// Entries of a ring; one stays empty, so that full differs from empty.
const CAPACITY: u32 = 170;

/// The page, mapped as long as this lives.
#[derive(Clone, Debug)]
pub struct Ring {
    mapping: Arc<Mapping>,
    offset: usize,
}

impl Ring {
    /// The ring at page `page` of a vCPU's mapping (what KVM_CAP_COALESCED_MMIO answers); `None` when there is no such page, or
    /// the answer is 0, no ring.
    pub(super) fn new(mapping: Arc<Mapping>, page: u32) -> Option<Self> {
        let offset = usize::try_from(page).ok()?.checked_mul(PAGE_SIZE)?;
        let end = offset.checked_add(PAGE_SIZE)?;
        (page > 0 && end <= mapping.len()).then_some(Self { mapping, offset })
    }

    fn index(&self, at: usize) -> &AtomicU32 {
        // SAFETY: both indices are aligned 32-bit words inside the page, which `mapping` keeps; the kernel, too, accesses them
        // whole.
        unsafe { AtomicU32::from_ptr(self.mapping.base().add(self.offset + at).cast()) }
    }

    /// Takes the oldest entry out. One thread at a time: the caller holds a lock. An index that cannot be is an empty ring.
    pub fn take(&self) -> Option<[u8; KeptWrite::SIZE]> {
        let (first, last) = (self.index(0).load(Ordering::Relaxed), self.index(4).load(Ordering::Acquire));
        if first == last || first >= CAPACITY || last >= CAPACITY {
            return None;
        }
        let at = self.offset + HEADER + usize::try_from(first).ok()? * KeptWrite::SIZE;
        // SAFETY: `first` is below the capacity, so the entry lies inside the page; the kernel wrote it before `last` and writes it
        // again only after `first` has moved on. Every bit pattern is valid.
        let entry = unsafe { self.mapping.base().add(at).cast::<[u8; KeptWrite::SIZE]>().read() };
        self.index(0).store((first + 1) % CAPACITY, Ordering::Release);
        Some(entry)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kvm::run_page::RunPage;
    use proptest::prelude::*;

    /// A ring whose kernel is the test.
    pub(crate) struct Fabricated(Ring);

    impl Fabricated {
        pub(crate) fn new() -> Self {
            Self(RunPage::map(-1, 3 * PAGE_SIZE).unwrap().coalesced_ring(2).unwrap())
        }

        pub(crate) fn ring(&self) -> Ring {
            self.0.clone()
        }

        fn set(&self, first: u32, last: u32) {
            self.0.index(0).store(first, Ordering::Relaxed);
            self.0.index(4).store(last, Ordering::Relaxed);
        }

        /// What the kernel does; false when the ring is full.
        pub(crate) fn push(&self, entry: &[u8; KeptWrite::SIZE]) -> bool {
            let last = self.0.index(4).load(Ordering::Relaxed);
            if (last + 1) % CAPACITY == self.0.index(0).load(Ordering::Acquire) {
                return false;
            }
            let at = self.0.offset + HEADER + last as usize * KeptWrite::SIZE;
            // SAFETY: `last` is below the capacity, and nobody reads the entry before `last` has moved on.
            unsafe { self.0.mapping.base().add(at).cast::<[u8; KeptWrite::SIZE]>().write(*entry) };
            self.0.index(4).store((last + 1) % CAPACITY, Ordering::Release);
            true
        }
    }

    #[test]
    fn test_ring_is_where_the_kernel_says_or_nowhere() {
        let page = RunPage::map(-1, 3 * PAGE_SIZE).unwrap();
        for (number, there) in [(0, false), (1, true), (2, true), (3, false), (u32::MAX, false)] {
            assert_eq!(page.coalesced_ring(number).is_some(), there, "{number}");
        }
    }

    #[test]
    fn test_full_ring_holds_one_less_than_its_entries() {
        let fabricated = Fabricated::new();
        let pushed = (0..=u8::MAX).take_while(|&n| fabricated.push(&[n; KeptWrite::SIZE])).count();
        assert_eq!(pushed, 169);
        let taken: Vec<_> = std::iter::from_fn(|| fabricated.ring().take()).map(|entry| entry[0]).collect();
        assert_eq!(taken, (0..169).collect::<Vec<_>>());
    }

    proptest! {
        /// Whatever the page holds, taking ends, and reads nothing outside it.
        #[test]
        fn test_any_indices_end(first in any::<u32>(), last in any::<u32>(), small in any::<bool>()) {
            let fabricated = Fabricated::new();
            let (first, last) = if small { (first % 200, last % 200) } else { (first, last) };
            fabricated.set(first, last);
            let taken = std::iter::from_fn(|| fabricated.ring().take()).take(1000).count();
            let sane = first < CAPACITY && last < CAPACITY;
            let expected = if sane { (last + CAPACITY - first) % CAPACITY } else { 0 };
            prop_assert_eq!(taken, expected as usize);
        }
    }
}
