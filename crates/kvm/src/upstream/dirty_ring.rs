//! A vCPU's dirty ring, mapped into this process.

use super::{DirtyPage, Entries, Result};
use crate::mapping::Mapping;
use kvm_bindings::{KVM_DIRTY_LOG_PAGE_OFFSET, kvm_dirty_gfn};
use kvm_ioctls::VcpuFd;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

const PAGE_SIZE: i64 = 4096;

/// The ring: `entries` of the kernel's `kvm_dirty_gfn`. `entries` is a power of two.
#[derive(Debug)]
pub struct DirtyRing {
    mapping: Mapping,
    entries: u32,
}

impl DirtyRing {
    /// Maps the ring of a vCPU in a VM whose rings have `entries` entries.
    ///
    /// # Errors
    /// The error of `mmap`: EINVAL if the VM has no rings, or larger ones.
    pub fn map(vcpu: &VcpuFd, entries: u32) -> Result<Self> {
        let len = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(size_of::<kvm_dirty_gfn>());
        let mapping = Mapping::shared_at(vcpu.as_raw_fd(), len, i64::from(KVM_DIRTY_LOG_PAGE_OFFSET) * PAGE_SIZE)?;
        Ok(Self { mapping, entries })
    }

    fn entry(&self, index: u32) -> *mut kvm_dirty_gfn {
        let index = usize::try_from(index % self.entries).unwrap_or(0);
        // SAFETY: `index` is below the number of entries, which all lie inside the mapping.
        unsafe { self.mapping.base().cast::<kvm_dirty_gfn>().add(index) }
    }

    fn flags(&self, index: u32) -> &AtomicU32 {
        // SAFETY: the word is aligned, lives as long as the mapping, and both sides access it as a whole.
        unsafe { AtomicU32::from_ptr(std::ptr::addr_of_mut!((*self.entry(index)).flags)) }
    }
}

impl Entries for DirtyRing {
    fn capacity(&self) -> u32 {
        self.entries
    }

    fn load_flags(&self, index: u32) -> u32 {
        self.flags(index).load(Ordering::Acquire)
    }

    fn page(&self, index: u32) -> DirtyPage {
        let entry = self.entry(index);
        // SAFETY: the entry lies inside the mapping. The kernel wrote both words before it set the flag that was just
        // read, and does not change them until it has reclaimed the entry.
        let (slot, page) =
            unsafe { (std::ptr::addr_of!((*entry).slot).read(), std::ptr::addr_of!((*entry).offset).read()) };
        DirtyPage { slot, page }
    }

    fn store_flags(&self, index: u32, flags: u32) {
        self.flags(index).store(flags, Ordering::Release);
    }
}
