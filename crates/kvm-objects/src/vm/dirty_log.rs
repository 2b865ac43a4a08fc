//! The dirty bitmap of a slot: one bit per page, in words of 64.

use super::Vm;
use crate::errno::{Result, refuse};
use crate::ioctl::answer;
use kvm_bindings::{
    kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_dirty_log, kvm_dirty_log__bindgen_ty_1,
};
use std::os::fd::AsRawFd;

const KVM_GET_DIRTY_LOG: libc::Ioctl = 0x4010_ae42;
const KVM_CLEAR_DIRTY_LOG: libc::Ioctl = 0xc018_aec0;

impl Vm {
    /// Calls KVM_GET_DIRTY_LOG. Returns the pages written since the last call.
    ///
    /// # Errors
    /// ENOENT if the slot does not exist or does not log.
    pub fn dirty_log(&self, slot: u32) -> Result<Vec<u64>> {
        let mut bitmap = vec![0u64; self.slots.pages(slot)?.div_ceil(64)];
        let log = kvm_dirty_log {
            slot,
            padding1: 0,
            __bindgen_anon_1: kvm_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_mut_ptr().cast() },
        };
        // SAFETY: the kernel writes a bit for each page of the slot, rounded up to words, which is what the bitmap has.
        answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_GET_DIRTY_LOG, &raw const log) })?;
        Ok(bitmap)
    }

    /// Calls KVM_CLEAR_DIRTY_LOG: restarts logging for the pages whose bit is set in `bitmap`, which begins at
    /// `first_page`.
    ///
    /// # Errors
    /// EFAULT when the bitmap is shorter than `num_pages`; otherwise the error of the ioctl.
    pub fn clear_dirty_log(&self, slot: u32, first_page: u64, num_pages: u32, bitmap: &[u64]) -> Result<()> {
        if bitmap.len() < (num_pages as usize).div_ceil(64) {
            return Err(refuse(libc::EFAULT));
        }
        let log = kvm_clear_dirty_log {
            slot,
            num_pages,
            first_page,
            __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 { dirty_bitmap: bitmap.as_ptr().cast_mut().cast() },
        };
        // SAFETY: the kernel reads a bit for each of `num_pages`, rounded up to words, which were checked above.
        answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_CLEAR_DIRTY_LOG, &raw const log) }).map(drop)
    }
}
