//! Ranges of guest memory as addresses in this process.

use super::GuestRange;
use crate::ram::{GuestRam, host_address};
use std::io;

/// Addresses in this process. They are valid as long as the RAM from which they were computed.
#[derive(Default)]
pub struct IoVectors(pub Vec<libc::iovec>);

// SAFETY: the addresses belong to mappings that are shared by all threads; only the kernel follows them.
unsafe impl Send for IoVectors {}

impl IoVectors {
    pub fn new(ram: &GuestRam, ranges: impl IntoIterator<Item = GuestRange>) -> io::Result<Self> {
        let mut vectors = Self::default();
        vectors.fill(ram, ranges)?;
        Ok(vectors)
    }

    /// Replaces the addresses. Reuses the allocation if they fit.
    pub fn fill(&mut self, ram: &GuestRam, ranges: impl IntoIterator<Item = GuestRange>) -> io::Result<()> {
        let vector = |range: GuestRange| {
            let iov_len = usize::try_from(range.len).ok()?;
            let base = usize::try_from(host_address(ram, range.address, range.len.into())?).ok()?;
            Some(libc::iovec { iov_base: base as *mut libc::c_void, iov_len })
        };
        self.0.clear();
        for range in ranges {
            self.0.push(vector(range).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))?);
        }
        Ok(())
    }

    pub fn count(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }
}
