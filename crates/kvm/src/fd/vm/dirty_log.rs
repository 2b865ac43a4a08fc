//! The VM fd's ioctls for dirty pages.

use crate::Result;
use crate::error::failed;
use crate::upstream::dirty_log::{clear_dirty_log, get_dirty_log, reset_dirty_rings};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Weak};
use vmm_sys_util::errno;

/// A handle on a VM for its dirty pages. It does not keep the VM alive: after the VM's end, calls fail with EBADF.
#[derive(Clone, Debug)]
pub struct DirtyCalls(Weak<VmFd>);

impl DirtyCalls {
    pub(super) fn new(fd: &Arc<VmFd>) -> Self {
        Self(Arc::downgrade(fd))
    }

    fn vm(&self) -> std::result::Result<Arc<VmFd>, errno::Error> {
        self.0.upgrade().ok_or(errno::Error::new(libc::EBADF))
    }

    /// Calls KVM_GET_DIRTY_LOG. Overwrites `bitmap`, one bit for each of the slot's `pages`.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn get(&self, slot: u32, pages: u64, bitmap: &mut [u64]) -> Result<()> {
        let result = self.vm().and_then(|vm| get_dirty_log(&vm, slot, pages, bitmap));
        result.map_err(failed("KVM_GET_DIRTY_LOG", format!("slot {slot}, {pages} pages")))
    }

    /// Calls KVM_CLEAR_DIRTY_LOG: clears the pages whose bits are set, and records their next writes. `first_page` is a
    /// multiple of 64, and so is `pages` unless the slot ends there.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn clear(&self, slot: u32, first_page: u64, pages: u32, bitmap: &[u64]) -> Result<()> {
        let result = self.vm().and_then(|vm| clear_dirty_log(&vm, slot, first_page, pages, bitmap));
        result.map_err(failed("KVM_CLEAR_DIRTY_LOG", format!("slot {slot}, {pages} pages from {first_page}")))
    }

    /// Calls KVM_RESET_DIRTY_RINGS: the kernel reclaims the harvested entries. Returns their number.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn reset_rings(&self) -> Result<u32> {
        self.vm().and_then(|vm| reset_dirty_rings(&vm)).map_err(failed("KVM_RESET_DIRTY_RINGS", ""))
    }
}
