//! Ioctls of a VM that report which of its pages were written.

use super::{Result, answer};
use kvm_bindings::{
    kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_dirty_log, kvm_dirty_log__bindgen_ty_1,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl, ioctl_with_ref};

const KVM_GET_DIRTY_LOG: libc::c_ulong = 0x4010_ae42;
const KVM_CLEAR_DIRTY_LOG: libc::c_ulong = 0xc018_aec0;
const KVM_RESET_DIRTY_RINGS: libc::c_ulong = 0xaec7;

/// Calls KVM_GET_DIRTY_LOG. Overwrites `bitmap` with one bit for each of the slot's `pages`. kvm-ioctls allocates the bitmap instead.
///
/// # Errors
/// EINVAL when `bitmap` is too short; otherwise the error of the ioctl.
pub fn get_dirty_log(vm: &VmFd, slot: u32, pages: u64, bitmap: &mut [u64]) -> Result<()> {
    if (bitmap.len() as u64) * 64 < pages {
        return Err(errno::Error::new(libc::EINVAL));
    }
    let argument = kvm_dirty_log {
        slot,
        padding1: 0,
        __bindgen_anon_1: kvm_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_mut_ptr().cast() },
    };
    // SAFETY: the kernel writes one bit a page, in whole words, and `bitmap` has that many.
    answer(unsafe { ioctl_with_ref(vm, KVM_GET_DIRTY_LOG, &argument) }).map(drop)
}

/// Calls KVM_CLEAR_DIRTY_LOG, which clears the pages whose bits are set and records their next writes. `first_page` is
/// a multiple of 64, and so is `pages` unless the slot ends there.
///
/// # Errors
/// EINVAL when `bitmap` is too short; otherwise the error of the ioctl.
pub fn clear_dirty_log(vm: &VmFd, slot: u32, first_page: u64, pages: u32, bitmap: &[u64]) -> Result<()> {
    if (bitmap.len() as u64) * 64 < u64::from(pages) {
        return Err(errno::Error::new(libc::EINVAL));
    }
    let argument = kvm_clear_dirty_log {
        slot,
        num_pages: pages,
        first_page,
        __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_ptr().cast_mut().cast() },
    };
    // SAFETY: the kernel reads one bit a page, and `bitmap` has that many; it does not write.
    answer(unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG, &argument) }).map(drop)
}

/// Calls KVM_RESET_DIRTY_RINGS, which reclaims harvested entries. Returns their number.
///
/// # Errors
/// The error of the ioctl.
pub fn reset_dirty_rings(vm: &VmFd) -> Result<u32> {
    // SAFETY: the ioctl has no argument.
    answer(unsafe { ioctl(vm, KVM_RESET_DIRTY_RINGS) })
}
