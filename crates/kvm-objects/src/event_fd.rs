//! An eventfd, for KVM_IRQFD and KVM_IOEVENTFD.

use crate::errno::{Result, refuse};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use vmm_sys_util::errno::Error;

/// A counter that the kernel and this process share. Reading it never blocks.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Creates a counter at 0.
    ///
    /// # Errors
    /// This process has too many open files.
    pub fn new() -> Result<Self> {
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last());
        }
        // SAFETY: just created, and no other code has its number.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Returns the descriptor for `kvm_irqfd.fd` and similar fields. Valid while this value lives.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes the count. Returns 0 if it is zero.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub fn take(&self) -> Result<u64> {
        let mut count = 0u64;
        // SAFETY: the kernel writes 8 bytes, which are there.
        match unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) } {
            8 => Ok(count),
            _ if Error::last().errno() == libc::EAGAIN => Ok(0),
            _ => Err(Error::last()),
        }
    }

    /// Adds to the counter. An irqfd then raises its interrupt.
    ///
    /// # Errors
    /// EAGAIN when the counter is full, EINVAL for 2^64 - 1.
    pub fn add(&self, count: u64) -> Result<()> {
        // SAFETY: the kernel reads 8 bytes, which are there.
        match unsafe { libc::write(self.0.as_raw_fd(), (&raw const count).cast(), 8) } {
            8 => Ok(()),
            ..0 => Err(Error::last()),
            _ => Err(refuse(libc::EIO)),
        }
    }
}
