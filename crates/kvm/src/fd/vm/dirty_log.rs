//! The VM fd's ioctls for dirty pages.

use super::failed;
use crate::Result;
use kvm_bindings::{
    kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_dirty_log, kvm_dirty_log__bindgen_ty_1,
};
use kvm_ioctls::VmFd;
use std::sync::{Arc, Weak};
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl, ioctl_with_ref};

/// A handle on a VM for its dirty pages. It does not keep the VM: after its end, calls fail with EBADF.
#[derive(Clone, Debug)]
pub struct DirtyCalls(Weak<VmFd>);

impl DirtyCalls {
    pub(super) fn new(fd: &Arc<VmFd>) -> Self {
        Self(Arc::downgrade(fd))
    }

    fn call(&self, call: impl FnOnce(&VmFd) -> libc::c_int) -> std::result::Result<u32, errno::Error> {
        let vm = self.0.upgrade().ok_or(errno::Error::new(libc::EBADF))?;
        u32::try_from(call(&vm)).map_err(|_| errno::Error::last())
    }

    /// KVM_GET_DIRTY_LOG: overwrites `bitmap`, one bit for each of the slot's `pages`.
    pub fn get(&self, slot: u32, pages: u64, bitmap: &mut [u64]) -> Result<()> {
        const KVM_GET_DIRTY_LOG: libc::c_ulong = 0x4010_ae42;
        let context = format!("slot {slot}, {pages} pages");
        if (bitmap.len() as u64) * 64 < pages {
            return Err(failed("KVM_GET_DIRTY_LOG", context)(errno::Error::new(libc::EINVAL)));
        }
        let argument = kvm_dirty_log {
            slot,
            padding1: 0,
            __bindgen_anon_1: kvm_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_mut_ptr().cast() },
        };
        // SAFETY: the kernel writes one bit a page, in whole words, and `bitmap` has that many.
        let result = self.call(|vm| unsafe { ioctl_with_ref(vm, KVM_GET_DIRTY_LOG, &argument) });
        result.map(drop).map_err(failed("KVM_GET_DIRTY_LOG", context))
    }

    /// KVM_CLEAR_DIRTY_LOG: forgets the pages whose bits are set, and notes their next writes. `first_page` is a multiple of 64, and so is
    /// `pages` unless the slot ends there.
    pub fn clear(&self, slot: u32, first_page: u64, pages: u32, bitmap: &[u64]) -> Result<()> {
        const KVM_CLEAR_DIRTY_LOG: libc::c_ulong = 0xc018_aec0;
        let context = format!("slot {slot}, {pages} pages from {first_page}");
        if (bitmap.len() as u64) * 64 < u64::from(pages) {
            return Err(failed("KVM_CLEAR_DIRTY_LOG", context)(errno::Error::new(libc::EINVAL)));
        }
        let argument = kvm_clear_dirty_log {
            slot,
            num_pages: pages,
            first_page,
            __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_ptr().cast_mut().cast() },
        };
        // SAFETY: the kernel reads one bit a page, and `bitmap` has that many; it does not write.
        let result = self.call(|vm| unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG, &argument) });
        result.map(drop).map_err(failed("KVM_CLEAR_DIRTY_LOG", context))
    }

    /// KVM_RESET_DIRTY_RINGS: the kernel takes back what was harvested; how many entries that was.
    pub fn reset_rings(&self) -> Result<u32> {
        const KVM_RESET_DIRTY_RINGS: libc::c_ulong = 0xaec7;
        // SAFETY: the ioctl has no argument.
        self.call(|vm| unsafe { ioctl(vm, KVM_RESET_DIRTY_RINGS) }).map_err(failed("KVM_RESET_DIRTY_RINGS", ""))
    }
}
