//! Harvesting one dirty ring. The kernel and the harvester share only the flags of each entry:
//!
//! ```text
//! empty (0) -- kernel: page written --> dirty (1) -- harvester --> reset (2) -- kernel, KVM_RESET_DIRTY_RINGS --> empty
//! ```

/// A page that a ring's entry reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyPage {
    /// Slot number; the address space is in bits 31:16.
    pub slot: u32,
    /// Page within the slot.
    pub page: u64,
}

/// KVM_DIRTY_GFN_F_DIRTY: the harvester owns the entry.
pub const DIRTY: u32 = 1;
/// KVM_DIRTY_GFN_F_RESET: the entry was harvested, and the kernel owns it again.
pub const RESET: u32 = 2;

/// A ring's entries. An index is taken modulo their number.
pub trait Entries {
    /// Returns the number of entries: a power of two.
    fn capacity(&self) -> u32;
    /// Loads the flags with acquire order: reads after the load see what the kernel wrote before the flags.
    fn load_flags(&self, index: u32) -> u32;
    /// Reads the rest of an entry whose flags are [`DIRTY`].
    fn page(&self, index: u32) -> DirtyPage;
    /// Stores the flags with release order: reads of the entry before the store complete first.
    fn store_flags(&self, index: u32, flags: u32);
}

/// Takes all dirty entries from `*next` on, in order, and returns their number. Only one thread may harvest a ring at a
/// time.
pub fn harvest(ring: &impl Entries, next: &mut u32, mut dirty: impl FnMut(DirtyPage)) -> u32 {
    let mut count = 0;
    // The bound ends the loop if the kernel fills the ring as fast as it is read.
    while count < ring.capacity() && ring.load_flags(*next) & (DIRTY | RESET) == DIRTY {
        dirty(ring.page(*next));
        ring.store_flags(*next, RESET);
        *next = next.wrapping_add(1);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use loom::thread;

    /// A ring of two entries in loom's memory. Loom tries every order that the processor may choose.
    struct Modelled {
        flags: [AtomicU32; 2],
        pages: [AtomicU64; 2],
    }

    impl Modelled {
        fn new() -> Self {
            Self { flags: [AtomicU32::new(0), AtomicU32::new(0)], pages: [AtomicU64::new(0), AtomicU64::new(0)] }
        }

        /// Models the kernel: writes a page to an entry that the kernel owns.
        fn push(&self, index: usize, page: u64) {
            self.pages[index % 2].store(page, Ordering::Relaxed);
            self.flags[index % 2].store(DIRTY, Ordering::Release);
        }

        /// Models KVM_RESET_DIRTY_RINGS: reclaims one entry, if it was harvested.
        fn reset(&self, index: usize) -> bool {
            let harvested = self.flags[index % 2].load(Ordering::Acquire) == RESET;
            if harvested {
                self.flags[index % 2].store(0, Ordering::Relaxed);
            }
            harvested
        }
    }

    impl Entries for Modelled {
        fn capacity(&self) -> u32 {
            2
        }

        fn load_flags(&self, index: u32) -> u32 {
            self.flags[index as usize % 2].load(Ordering::Acquire)
        }

        fn page(&self, index: u32) -> DirtyPage {
            DirtyPage { slot: 0, page: self.pages[index as usize % 2].load(Ordering::Relaxed) }
        }

        fn store_flags(&self, index: u32, flags: u32) {
            self.flags[index as usize % 2].store(flags, Ordering::Release);
        }
    }

    #[test]
    fn test_a_page_is_harvested_once_and_completely_in_every_order() {
        loom::model(|| {
            let ring = Arc::new(Modelled::new());
            let kernel = {
                let ring = Arc::clone(&ring);
                thread::spawn(move || {
                    ring.push(0, 10);
                    ring.push(1, 11);
                    // The first entry again, if it has been harvested meanwhile.
                    if ring.reset(0) {
                        ring.push(2, 12);
                        return 3;
                    }
                    2
                })
            };
            let mut next = 0;
            let mut found = Vec::new();
            let mut count = harvest(&*ring, &mut next, |dirty| found.push(dirty.page));
            let pushed = kernel.join().unwrap();
            count += harvest(&*ring, &mut next, |dirty| found.push(dirty.page));
            assert_eq!(found, (10..10 + pushed).collect::<Vec<_>>());
            assert_eq!((u64::from(count), u64::from(next)), (pushed, pushed));
        });
    }

    #[test]
    fn test_harvest_ends_in_a_ring_that_is_filled_while_it_is_read() {
        struct Endless;
        impl Entries for Endless {
            fn capacity(&self) -> u32 {
                4
            }
            fn load_flags(&self, _: u32) -> u32 {
                DIRTY
            }
            fn page(&self, index: u32) -> DirtyPage {
                DirtyPage { slot: 0, page: index.into() }
            }
            fn store_flags(&self, _: u32, _: u32) {}
        }
        let mut next = u32::MAX;
        assert_eq!(harvest(&Endless, &mut next, |_| {}), 4);
        assert_eq!(next, 3);
    }
}
