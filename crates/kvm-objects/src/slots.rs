//! The memory to which a VM's slots refer.

use crate::errno::{Result, refuse};
use kvm_accel_kvm::Mapping;
use kvm_accel_kvm::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Keeps the memory of every slot mapped. The VM and each of its vCPUs own it, and drop it after their fds. So as long
/// as a guest can run, its RAM is its own and no other memory of this process.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<u32, Slot>>);

#[derive(Debug)]
struct Slot {
    _memory: Arc<Mapping>,
    size: u64,
}

impl Slots {
    /// Records that the kernel has set a slot, in place of the previous one.
    pub fn set(&self, slot: u32, memory: Arc<Mapping>, size: u64) {
        lock(&self.0).insert(slot, Slot { _memory: memory, size });
    }

    /// Records that the kernel has deleted a slot.
    pub fn remove(&self, slot: u32) {
        lock(&self.0).remove(&slot);
    }

    /// Returns the number of pages of a slot.
    pub fn pages(&self, slot: u32) -> Result<usize> {
        let slots = lock(&self.0);
        let size = slots.get(&slot).ok_or(refuse(libc::ENOENT))?.size;
        usize::try_from(size >> 12).map_err(|_| refuse(libc::E2BIG))
    }
}
