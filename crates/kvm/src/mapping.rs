//! Memory mappings of this process with several owners: the pages of a vCPU, guest RAM.

use std::os::fd::RawFd;
use std::ptr::NonNull;
use vmm_sys_util::errno::Error;

/// A mapping. The last owner that drops it unmaps it.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory without thread affinity; each access through the pointer has its own SAFETY comment.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of a file with `MAP_SHARED`.
    pub fn shared(fd: RawFd, len: usize) -> Result<Self, Error> {
        Self::shared_at(fd, len, 0)
    }

    /// Maps `len` bytes of a file from `offset` on with `MAP_SHARED`.
    pub fn shared_at(fd: RawFd, len: usize, offset: i64) -> Result<Self, Error> {
        Self::map(fd, len, libc::MAP_SHARED, offset)
    }

    /// Maps `len` bytes of zeros, which use no memory until they are touched.
    pub fn anonymous(len: usize) -> Result<Self, Error> {
        Self::map(-1, len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, 0)
    }

    fn map(fd: RawFd, len: usize, flags: libc::c_int, offset: i64) -> Result<Self, Error> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, len }),
            _ => Err(Error::last()),
        }
    }

    /// Returns the address of the first byte.
    pub const fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Returns the length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "no mapping is empty")]
    pub const fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mmap that created this value, and no other owner is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
