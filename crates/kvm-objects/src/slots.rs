//! Which memory a VM's slots point to.

use crate::errno::{Result, refuse};
use kvm_accel_kvm::Mapping;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the memory of every slot mapped. Owned by the VM and each of its vCPUs, and dropped after their fds: as long as a guest can run,
/// what it sees as RAM is its RAM and nothing else of this process.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<u32, Slot>>);

#[derive(Debug)]
struct Slot {
    _memory: Arc<Mapping>,
    size: u64,
}

impl Slots {
    /// The kernel has taken a slot, in place of what it had.
    pub fn set(&self, slot: u32, memory: Arc<Mapping>, size: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, Slot { _memory: memory, size });
    }

    /// The kernel has let go of a slot.
    pub fn remove(&self, slot: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    /// Pages of a slot.
    pub fn pages(&self, slot: u32) -> Result<usize> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = slots.get(&slot).ok_or(refuse(libc::ENOENT))?.size;
        usize::try_from(size >> 12).map_err(|_| refuse(libc::E2BIG))
    }
}
