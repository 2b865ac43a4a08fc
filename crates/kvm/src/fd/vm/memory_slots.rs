//! KVM_SET_USER_MEMORY_REGION.

use super::slot::SlotCall;
use crate::Result;
use crate::error::failed;
use crate::trace::trace;
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Weak};
use vmm_sys_util::errno;

/// A handle on a VM for its memory slots. It does not keep the VM alive: after the VM's end, calls fail with EBADF.
#[derive(Clone, Debug)]
pub struct SlotCalls(Weak<VmFd>);

impl SlotCalls {
    pub(super) fn new(fd: &Arc<VmFd>) -> Self {
        Self(Arc::downgrade(fd))
    }

    /// Sets or deletes one slot.
    ///
    /// # Safety
    /// The memory behind a slot that is set stays mapped until the slot is deleted, or no vCPU of the VM can run any
    /// more.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub unsafe fn set(&self, call: &SlotCall) -> Result<()> {
        let region = region(call);
        let vm = self.0.upgrade().ok_or(errno::Error::new(libc::EBADF));
        // SAFETY: the caller keeps the memory mapped for as long as the guest can reach it.
        let result = vm.and_then(|vm| unsafe { vm.set_user_memory_region(region) });
        trace!(KvmSetUserMemory {
            address_space: 0,
            slot: region.slot,
            flags: region.flags,
            guest_phys_addr: region.guest_phys_addr,
            memory_size: region.memory_size,
            userspace_addr: region.userspace_addr,
            ret: result.err().map_or(0, |error| -error.errno()),
        });
        result.map_err(failed("KVM_SET_USER_MEMORY_REGION", call.slot().to_string()))
    }
}

fn region(call: &SlotCall) -> kvm_userspace_memory_region {
    let slot = call.slot();
    let (flags, memory_size) = match call {
        SlotCall::Delete(_) => (0, 0),
        SlotCall::Set(_) => {
            let read_only = if slot.read_only { KVM_MEM_READONLY } else { 0 };
            let log_dirty = if slot.log_dirty { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
            (read_only | log_dirty, slot.size)
        }
    };
    kvm_userspace_memory_region {
        slot: slot.id,
        flags,
        guest_phys_addr: slot.start,
        memory_size,
        userspace_addr: slot.host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::Slot;
    use super::*;

    #[test]
    fn test_regions_are_the_kernels() {
        let slot = Slot { id: 3, start: 0x1000, size: 0x2000, host: 0x7000, read_only: true, log_dirty: false };
        let set = region(&SlotCall::Set(slot));
        assert_eq!(
            (set.slot, set.flags, set.guest_phys_addr, set.memory_size, set.userspace_addr),
            (3, 2, 0x1000, 0x2000, 0x7000)
        );
        let delete = region(&SlotCall::Delete(slot));
        assert_eq!((delete.slot, delete.flags, delete.memory_size), (3, 0, 0));
        let logged = region(&SlotCall::Set(Slot { read_only: false, log_dirty: true, ..slot }));
        assert_eq!(logged.flags, 1);
    }
}
