//! The slots of a machine as a value.

use kvm_accel_kvm::fd::{Slot, SlotCall};

/// Limits of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// KVM_CAP_NR_MEMSLOTS.
    pub slots: u32,
    /// Bytes, a multiple of a page.
    pub slot_size: u64,
    /// KVM_CAP_READONLY_MEM.
    pub read_only: bool,
}

impl Limits {
    /// The kernel accepts at most 2^31 - 1 pages in a slot. This is the next lower power of two, so that large pages
    /// stay aligned.
    pub const MAX_SLOT_SIZE: u64 = 4 << 40;
    /// The kernel's number of slots if it does not report one.
    const DEFAULT_SLOTS: u32 = 32;

    /// Returns the limits from the values of the two capabilities.
    pub const fn new(nr_memslots: u32, readonly_mem: u32) -> Self {
        let slots = if nr_memslots == 0 { Self::DEFAULT_SLOTS } else { nr_memslots };
        Self { slots, slot_size: Self::MAX_SLOT_SIZE, read_only: readonly_mem != 0 }
    }
}

/// Slots by number. It starts small and doubles up to the kernel's limit.
#[derive(Clone, Debug)]
pub struct SlotTable {
    pub limits: Limits,
    /// Whether dirty logging is on for new slots that a guest can write.
    pub log_dirty: bool,
    slots: Vec<Option<Slot>>,
}

const FIRST_SIZE: usize = 16;

impl SlotTable {
    pub const fn new(limits: Limits) -> Self {
        Self { limits, log_dirty: false, slots: Vec::new() }
    }

    /// Iterates over the slots in use, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    pub fn get(&self, id: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(id).ok()?)?.as_ref()
    }

    /// Returns the slot of exactly this range.
    pub fn find(&self, start: u64, size: u64) -> Option<&Slot> {
        self.iter().find(|slot| (slot.start, slot.size) == (start, size))
    }

    /// Applies a call that the kernel has accepted.
    pub fn apply(&mut self, call: &SlotCall) {
        let Ok(index) = usize::try_from(call.slot().id) else { return };
        while self.slots.len() <= index {
            let limit = usize::try_from(self.limits.slots).unwrap_or(usize::MAX);
            let size = (self.slots.len() * 2).max(FIRST_SIZE).min(limit).max(index + 1);
            self.slots.resize(size, None);
        }
        if let Some(place) = self.slots.get_mut(index) {
            *place = match call {
                SlotCall::Delete(_) => None,
                SlotCall::Set(slot) => Some(*slot),
            };
        }
    }

    /// Iterates over the free numbers, lowest first.
    pub fn free(&self) -> impl Iterator<Item = u32> {
        (0..self.limits.slots).filter(|&id| self.get(id).is_none())
    }
}
