//! The ring of coalesced writes. It is one page for the whole VM, mapped into every vCPU's shared pages. This process
//! writes `first`; the kernel writes `last` and the entries.

use super::io_address::IoAddress;
use crate::mapping::Mapping;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const PAGE_SIZE: usize = 4096;
const HEADER: usize = 8;
/// Number of entries in a ring. One stays empty, so that a full ring differs from an empty one.
const CAPACITY: u32 = 170;

/// The page of the ring. It stays mapped while this value exists.
#[derive(Clone, Debug)]
pub struct CoalescedRing {
    mapping: Arc<Mapping>,
    offset: usize,
}

impl CoalescedRing {
    /// Returns the ring at page `page` of a vCPU's mapping; `page` is the value of KVM_CAP_COALESCED_MMIO. Returns
    /// `None` if `page` is 0, which means no ring, or lies outside the mapping.
    pub(super) fn new(mapping: Arc<Mapping>, page: u32) -> Option<Self> {
        let offset = usize::try_from(page).ok()?.checked_mul(PAGE_SIZE)?;
        let end = offset.checked_add(PAGE_SIZE)?;
        (page > 0 && end <= mapping.len()).then_some(Self { mapping, offset })
    }

    fn index(&self, at: usize) -> &AtomicU32 {
        // SAFETY: both indices are aligned 32-bit words inside the page, which `mapping` keeps. The kernel, too,
        // accesses them as whole words.
        unsafe { AtomicU32::from_ptr(self.mapping.base().add(self.offset + at).cast()) }
    }

    /// Removes and returns the oldest entry. The caller holds a lock, so that one thread at a time does this. An
    /// invalid index counts as an empty ring.
    pub fn take(&self) -> Option<[u8; CoalescedWrite::SIZE]> {
        let (first, last) = (self.index(0).load(Ordering::Relaxed), self.index(4).load(Ordering::Acquire));
        if first == last || first >= CAPACITY || last >= CAPACITY {
            return None;
        }
        let at = self.offset + HEADER + usize::try_from(first).ok()? * CoalescedWrite::SIZE;
        // SAFETY: `first` is below the capacity, so the entry lies inside the page; the kernel wrote it before `last` and writes it
        // again only after `first` has moved on. Every bit pattern is valid.
        let entry = unsafe { self.mapping.base().add(at).cast::<[u8; CoalescedWrite::SIZE]>().read() };
        self.index(0).store((first + 1) % CAPACITY, Ordering::Release);
        Some(entry)
    }
}

/// A coalesced write: the kernel stored it in the ring instead of exiting to user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoalescedWrite {
    /// Address of the write.
    pub address: IoAddress,
    data: [u8; 8],
    len: usize,
}

impl CoalescedWrite {
    /// Size of a ring entry in bytes: address, length, port flag and data.
    pub const SIZE: usize = 24;

    /// Decodes an entry. Returns `None` if it is not a write that an x86 processor can perform.
    #[must_use]
    pub fn parse(entry: &[u8; Self::SIZE]) -> Option<Self> {
        let [address, len_and_pio, data] = [0, 8, 16].map(|at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&entry[at..at + 8]);
            bytes
        });
        let [l0, l1, l2, l3, p0, p1, p2, p3] = len_and_pio;
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok().filter(|len| (1..=8).contains(len))?;
        let address = u64::from_le_bytes(address);
        // Linux 4.x leaves padding where later kernels flag ports. Only the value 1 means a port, as in QEMU.
        let address = match u32::from_le_bytes([p0, p1, p2, p3]) {
            1 => IoAddress::Pio(u16::try_from(address).ok()?),
            _ => IoAddress::Mmio(address),
        };
        Some(Self { address, data, len })
    }

    /// Returns the written data: 1 to 8 bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..self.len]
    }
}

/// A ring that tests fill in place of the kernel.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    use super::super::run_page::RunPage;
    use super::*;

    /// A ring that a test fills in place of the kernel.
    pub struct Fabricated(CoalescedRing);

    impl Fabricated {
        /// Creates an empty ring. Returns `None` if its page cannot be mapped.
        #[must_use]
        pub fn new() -> Option<Self> {
            RunPage::map(-1, 3 * PAGE_SIZE).ok()?.coalesced_ring(2).map(Self)
        }

        /// Returns the ring for its consumer.
        pub fn ring(&self) -> CoalescedRing {
            self.0.clone()
        }

        #[cfg(test)]
        pub(super) fn set(&self, first: u32, last: u32) {
            self.0.index(0).store(first, Ordering::Relaxed);
            self.0.index(4).store(last, Ordering::Relaxed);
        }

        /// Adds an entry, as the kernel does. Returns false if the ring is full.
        pub fn push(&self, entry: &[u8; CoalescedWrite::SIZE]) -> bool {
            let last = self.0.index(4).load(Ordering::Relaxed);
            if (last + 1) % CAPACITY == self.0.index(0).load(Ordering::Acquire) {
                return false;
            }
            let at = self.0.offset + HEADER + last as usize * CoalescedWrite::SIZE;
            // SAFETY: `last` is below the capacity, and the consumer reads the entry only after `last` has moved on.
            unsafe { self.0.mapping.base().add(at).cast::<[u8; CoalescedWrite::SIZE]>().write(*entry) };
            self.0.index(4).store((last + 1) % CAPACITY, Ordering::Release);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::run_page::RunPage;
    use super::testing::Fabricated;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn test_ring_is_at_the_page_of_the_capability_or_absent() {
        let page = RunPage::map(-1, 3 * PAGE_SIZE).unwrap();
        for (number, there) in [(0, false), (1, true), (2, true), (3, false), (u32::MAX, false)] {
            assert_eq!(page.coalesced_ring(number).is_some(), there, "{number}");
        }
    }

    #[test]
    fn test_full_ring_holds_one_less_than_its_entries() {
        let fabricated = Fabricated::new().unwrap();
        let pushed = (0..=u8::MAX).take_while(|&n| fabricated.push(&[n; CoalescedWrite::SIZE])).count();
        assert_eq!(pushed, 169);
        let taken: Vec<_> = std::iter::from_fn(|| fabricated.ring().take()).map(|entry| entry[0]).collect();
        assert_eq!(taken, (0..169).collect::<Vec<_>>());
    }

    proptest! {
        /// Whatever the page contains, taking entries terminates and reads nothing outside the page.
        #[test]
        fn test_any_indices_end(first in any::<u32>(), last in any::<u32>(), small in any::<bool>()) {
            let fabricated = Fabricated::new().unwrap();
            let (first, last) = if small { (first % 200, last % 200) } else { (first, last) };
            fabricated.set(first, last);
            let taken = std::iter::from_fn(|| fabricated.ring().take()).take(1000).count();
            let sane = first < CAPACITY && last < CAPACITY;
            let expected = if sane { (last + CAPACITY - first) % CAPACITY } else { 0 };
            prop_assert_eq!(taken, expected as usize);
        }
    }
}
