//! One memory slot.

use std::fmt;
use std::ops::Range;

/// Granularity of slots: the page size of an x86 host, in bytes.
pub const PAGE: u64 = 4096;

/// A memory slot of the kernel: never empty, aligned to pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The slot's number in the kernel, in address space 0.
    pub id: u32,
    /// The first guest physical address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// The address in this process of the memory that backs `start`.
    pub host: u64,
    /// KVM_MEM_READONLY: a guest's write causes an MMIO exit.
    pub read_only: bool,
    /// KVM_MEM_LOG_DIRTY_PAGES: the kernel records which pages the guest writes.
    pub log_dirty: bool,
}

impl Slot {
    /// Returns the guest physical addresses.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start..self.start + self.size
    }

    /// Returns the number of pages.
    #[must_use]
    pub const fn pages(&self) -> u64 {
        self.size / PAGE
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}, start {:#x}, size {:#x}", self.id, self.start, self.size)
    }
}

/// One KVM_SET_USER_MEMORY_REGION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotCall {
    /// Deletes the slot by setting its size to 0.
    Delete(Slot),
    /// Adds a slot, or changes the flags of an existing one.
    Set(Slot),
}

impl SlotCall {
    /// Returns the slot that is deleted or set.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        match self {
            Self::Delete(slot) | Self::Set(slot) => slot,
        }
    }
}
