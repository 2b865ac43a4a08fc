//! The dirty rings of a machine's vCPUs.

use kvm_accel_kvm::trace::trace;
use kvm_accel_kvm::upstream::{DirtyPage, DirtyRing, Entries, harvest};
use kvm_accel_kvm::{Error, Result};

/// Calls of KVM_RESET_DIRTY_RINGS in a row that take nothing back, after which we give up.
const FRUITLESS: u32 = 100;

/// Rings and how far each has been read.
#[derive(Debug)]
pub struct Rings<E = DirtyRing> {
    rings: Vec<Ring<E>>,
    /// Entries that were harvested and that the kernel has not taken back.
    outstanding: u64,
}

#[derive(Debug)]
struct Ring<E> {
    entries: E,
    next: u32,
    /// Pages harvested since the vCPU was made.
    total: u64,
}

impl<E> Default for Rings<E> {
    fn default() -> Self {
        Self { rings: Vec::new(), outstanding: 0 }
    }
}

/// What one round over all rings found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harvested {
    /// Entries.
    pub entries: u64,
    /// A ring was full to its last entry: the kernel may have had more to say.
    pub overflow: bool,
}

impl<E: Entries> Rings<E> {
    /// Adds the ring of the next vCPU.
    pub fn push(&mut self, entries: E) {
        self.rings.push(Ring { entries, next: 0, total: 0 });
    }

    /// Harvests every ring. [`Rings::give_back`] must follow: a page is noted again only after the kernel has taken its entry back.
    pub fn harvest(&mut self, mut dirty: impl FnMut(DirtyPage)) -> Harvested {
        let mut all = Harvested::default();
        for (vcpu, ring) in (0_u32..).zip(&mut self.rings) {
            trace!(KvmDirtyRingReapVcpu { id: vcpu });
            let mut fetch = ring.next;
            let count = harvest(&ring.entries, &mut ring.next, |page| {
                // As in QEMU, the event's slot is the index of the entry.
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

    /// Has the kernel take back all that was harvested, by `reset`, which is KVM_RESET_DIRTY_RINGS and answers how many entries it took.
    /// Linux 6.16 and later returns early when a signal is pending, so the call is repeated.
    ///
    /// # Errors
    /// That of `reset`, or EAGAIN when the kernel takes nothing back: the next call goes on.
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

    /// Pages that each vCPU has dirtied, counted once each time a page was noted.
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

    /// A ring in the kernel's hands: entries as flags and page.
    #[derive(Clone)]
    struct Fabricated(Rc<RefCell<Vec<(u32, u64)>>>);

    impl Fabricated {
        fn new() -> Self {
            Self(Rc::new(RefCell::new(vec![(0, 0); 8])))
        }

        /// The kernel notes a page.
        fn push(&self, index: usize, page: u64) {
            self.0.borrow_mut()[index] = (DIRTY, page);
        }

        /// KVM_RESET_DIRTY_RINGS that takes back `most` entries at most.
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
    fn test_a_kernel_that_takes_nothing_back_is_an_error_and_the_next_call_goes_on() {
        let (mut rings, ring) = rings(3);
        rings.harvest(|_| ());
        let mut calls = 0;
        let error = rings.give_back(|| {
            calls += 1;
            Ok(if calls == 1 { ring.reset(1) } else { 0 })
        });
        assert_eq!((error.unwrap_err().errno(), calls), (Some(libc::EAGAIN), FRUITLESS + 1));
        assert_eq!(rings.give_back(|| Err(failed(libc::EBADF))), Err(failed(libc::EBADF)));
        // Together with what was harvested since.
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
