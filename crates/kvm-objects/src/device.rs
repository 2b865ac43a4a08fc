//! A device that the kernel has created (KVM_CREATE_DEVICE), and its attributes.

use crate::errno::{Result, refuse};
use crate::ioctl::answer;
use crate::shared_bytes::SharedBytes;
use kvm_accel_kvm::Mapping;
use kvm_bindings::kvm_device_attr;
use std::os::fd::{AsRawFd, OwnedFd};

const KVM_SET_DEVICE_ATTR: libc::Ioctl = 0x4018_aee1;
const KVM_GET_DEVICE_ATTR: libc::Ioctl = 0x4018_aee2;
const KVM_HAS_DEVICE_ATTR: libc::Ioctl = 0x4018_aee3;

const PAGE: usize = 4096;

/// A device in the kernel.
#[derive(Debug)]
pub struct Device(OwnedFd);

impl Device {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Calls KVM_HAS_DEVICE_ATTR.
    ///
    /// # Errors
    /// ENXIO if the device lacks the attribute.
    pub fn has_attr(&self, group: u32, attr: u64) -> Result<()> {
        self.call(KVM_HAS_DEVICE_ATTR, group, attr, SharedBytes::EMPTY)
    }

    /// Calls KVM_SET_DEVICE_ATTR.
    ///
    /// # Errors
    /// The error of the ioctl: EFAULT if the attribute is larger than `bytes`.
    pub fn set_attr<'a>(&self, group: u32, attr: u64, bytes: impl Into<SharedBytes<'a>>) -> Result<()> {
        self.call(KVM_SET_DEVICE_ATTR, group, attr, bytes.into())
    }

    /// Calls KVM_GET_DEVICE_ATTR.
    ///
    /// # Errors
    /// The error of the ioctl: EFAULT if the attribute is larger than `bytes`.
    pub fn get_attr<'a>(&self, group: u32, attr: u64, bytes: impl Into<SharedBytes<'a>>) -> Result<()> {
        self.call(KVM_GET_DEVICE_ATTR, group, attr, bytes.into())
    }

    /// Calls a device ioctl. Only the device knows how many bytes it accesses. So `bytes` are placed at the end of
    /// accessible memory, and a larger access fails with EFAULT.
    fn call(&self, request: libc::Ioctl, group: u32, attr: u64, bytes: SharedBytes<'_>) -> Result<()> {
        let start = PAGE.checked_sub(bytes.len()).ok_or(refuse(libc::E2BIG))?;
        let pages = Mapping::anonymous(2 * PAGE)?;
        // SAFETY: the second page is ours alone and holds nothing.
        answer(unsafe { libc::mprotect(pages.base().add(PAGE).cast(), PAGE, libc::PROT_NONE) })?;
        // SAFETY: the first page is ours alone, and the range ends with it. The kernel reads and writes it during the call.
        let window = unsafe { std::slice::from_raw_parts_mut(pages.base().add(start), bytes.len()) };
        bytes.copy_to(window);
        let addr = window.as_mut_ptr().addr() as u64;
        let attribute = kvm_device_attr { flags: 0, group, attr, addr };
        // SAFETY: the kernel reads the structure, and its accesses at `addr` stop at the page's end, where our memory
        // ends too.
        let result = answer(unsafe { libc::ioctl(self.0.as_raw_fd(), request, &raw const attribute) });
        bytes.copy_from(window);
        result.map(drop)
    }
}
