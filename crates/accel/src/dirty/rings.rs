//! The dirty rings of a machine's vCPUs.

use kvm_accel_kvm::trace::trace;
use kvm_accel_kvm::upstream::{DirtyPage, DirtyRing, Entries, harvest};
use kvm_accel_kvm::{Error, Result};

/// Number of consecutive KVM_RESET_DIRTY_RINGS calls that reclaim no entry after which [`Rings::give_back`] fails.
const FRUITLESS: u32 = 100;

/// The rings, and how far each has been read.
#[derive(Debug)]
pub struct Rings<E = DirtyRing> {
    rings: Vec<Ring<E>>,
    /// Number of harvested entries that the kernel has not reclaimed.
    outstanding: u64,
}

#[derive(Debug)]
struct Ring<E> {
    entries: E,
    next: u32,
    /// Number of pages harvested since the vCPU was created.
    total: u64,
}

impl<E> Default for Rings<E> {
    fn default() -> Self {
        Self { rings: Vec::new(), outstanding: 0 }
    }
}

/// The result of one harvest of all rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harvested {
    /// Number of entries.
    pub entries: u64,
    /// A ring was completely full, so the kernel may have dropped entries.
    pub overflow: bool,
}

impl<E: Entries> Rings<E> {
    /// Adds the ring of the next vCPU.
    pub fn push(&mut self, entries: E) {
        self.rings.push(Ring { entries, next: 0, total: 0 });
    }

    /// Harvests every ring. [`Rings::give_back`] must follow: the kernel records a page again only after it has
    /// reclaimed the page's entry.
    pub fn harvest(&mut self, mut dirty: impl FnMut(DirtyPage)) -> Harvested {
        let mut all = Harvested::default();
        for (vcpu, ring) in (0_u32..).zip(&mut self.rings) {
            trace!(KvmDirtyRingReapVcpu { id: vcpu });
            let mut fetch = ring.next;
            let count = harvest(&ring.entries, &mut ring.next, |page| {
                // As in QEMU, the event's `slot` is the index of the entry.
                trace!(KvmDirtyRingPage { vcpu, slot: fetch, offset: page.page });
                fetch = fetch.wrapping_add(1);
                dirty(page);
            });
            ring.total += u64::from(count);
            all.entries += u64::from(count);
            all.overflow |= count == ring.entries.capacity();
        }
        self.outstanding += all.entries;
        all
    }

    /// Makes the kernel reclaim all harvested entries. `reset` is KVM_RESET_DIRTY_RINGS and returns the number of
    /// reclaimed entries. Linux 6.16 and later returns early when a signal is pending, so this function repeats the
    /// call.
    ///
    /// # Errors
    /// That of `reset`, or EAGAIN when the kernel reclaims nothing: the next call continues.
    pub fn give_back(&mut self, mut reset: impl FnMut() -> Result<u32>) -> Result<()> {
        let mut fruitless = 0;
        while self.outstanding > 0 {
            let taken = match reset() {
                Err(Error::Ioctl { errno: libc::EINTR, .. }) => 0,
                taken => u64::from(taken?),
            };
            self.outstanding = self.outstanding.saturating_sub(taken);
            fruitless = if taken > 0 { 0 } else { fruitless + 1 };
            if fruitless == FRUITLESS {
                let context = format!("{} entries, {FRUITLESS} times", self.outstanding);
                return Err(Error::Ioctl { ioctl: "KVM_RESET_DIRTY_RINGS", context, errno: libc::EAGAIN });
            }
        }
        Ok(())
    }

    /// Returns the number of pages that each vCPU has dirtied. A page counts each time it is recorded.
    pub fn totals(&self) -> Vec<u64> {
        self.rings.iter().map(|ring| ring.total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_accel_kvm::upstream::{DIRTY, RESET};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A ring that the test fills in place of the kernel: entries as flags and page.
    #[derive(Clone)]
    struct Fabricated(Rc<RefCell<Vec<(u32, u64)>>>);

    impl Fabricated {
        fn new() -> Self {
            Self(Rc::new(RefCell::new(vec![(0, 0); 8])))
        }

        /// Records a page, as the kernel does.
        fn push(&self, index: usize, page: u64) {
            self.0.borrow_mut()[index] = (DIRTY, page);
        }

        /// Models a KVM_RESET_DIRTY_RINGS that reclaims at most `most` entries.
        fn reset(&self, most: u32) -> u32 {
            let mut taken = 0;
            for (flags, _) in self.0.borrow_mut().iter_mut().filter(|(flags, _)| flags & RESET != 0) {
                if taken == most {
                    break;
                }
                (*flags, taken) = (0, taken + 1);
            }
            taken
        }
    }

    impl Entries for Fabricated {
        fn capacity(&self) -> u32 {
            8
        }

        fn load_flags(&self, index: u32) -> u32 {
            self.0.borrow()[index as usize % 8].0
        }

        fn page(&self, index: u32) -> DirtyPage {
            DirtyPage { slot: 0, page: self.0.borrow()[index as usize % 8].1 }
        }

        fn store_flags(&self, index: u32, flags: u32) {
            self.0.borrow_mut()[index as usize % 8].0 = flags;
        }
    }

    fn rings(pages: usize) -> (Rings<Fabricated>, Fabricated) {
        let ring = Fabricated::new();
        (0..pages).for_each(|page| ring.push(page, page as u64));
        let mut rings = Rings::default();
        rings.push(ring.clone());
        (rings, ring)
    }

    fn failed(errno: i32) -> Error {
        Error::Ioctl { ioctl: "KVM_RESET_DIRTY_RINGS", context: String::new(), errno }
    }

    #[test]
    fn test_a_reset_that_a_signal_cuts_short_is_repeated_until_all_is_taken_back() {
        let (mut rings, ring) = rings(5);
        assert_eq!(rings.harvest(|_| ()), Harvested { entries: 5, overflow: false });
        let mut answers = [Ok(2), Err(failed(libc::EINTR)), Ok(0), Ok(1), Ok(2)].into_iter();
        let reset = || answers.next().unwrap().map(|most| ring.reset(most));
        assert_eq!(rings.give_back(reset), Ok(()));
        assert!(ring.0.borrow().iter().all(|(flags, _)| *flags == 0));
        assert_eq!(answers.next(), None);
        assert_eq!(rings.give_back(|| unreachable!("nothing is left")), Ok(()));
    }

    #[test]
    fn test_a_kernel_that_reclaims_nothing_is_an_error_and_the_next_call_continues() {
        let (mut rings, ring) = rings(3);
        rings.harvest(|_| ());
        let mut calls = 0;
        let error = rings.give_back(|| {
            calls += 1;
            Ok(if calls == 1 { ring.reset(1) } else { 0 })
        });
        assert_eq!((error.unwrap_err().errno(), calls), (Some(libc::EAGAIN), FRUITLESS + 1));
        assert_eq!(rings.give_back(|| Err(failed(libc::EBADF))), Err(failed(libc::EBADF)));
        // Reclaimed together with the entries that were harvested since.
        ring.push(3, 3);
        assert_eq!(rings.harvest(|_| ()).entries, 1);
        assert_eq!(rings.give_back(|| Ok(ring.reset(8))), Ok(()));
        assert_eq!(rings.outstanding, 0);
        assert_eq!(rings.totals(), [4]);
    }

    #[test]
    fn test_a_full_ring_may_have_lost_pages() {
        let (mut rings, _) = rings(8);
        assert_eq!(rings.harvest(|_| ()), Harvested { entries: 8, overflow: true });
    }
}
