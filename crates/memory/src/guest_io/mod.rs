//! Guest I/O: transfers the bytes of a file to and from guest RAM without an intermediate copy.
//!
//! - `vectors`: ranges of guest memory as addresses in this process.
//! - `direct`: `preadv` and `pwritev`, synchronously.
//! - `ring`: io_uring.

mod direct;
mod ring;
#[cfg(test)]
mod tests;
mod vectors;

pub use direct::{read_at, write_at};
pub use ring::{GuestRing, RingCall};

use crate::ram::GuestRam;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Maximum number of ranges in one call: Linux's `IOV_MAX`.
const LONGEST: usize = 1024;

/// A contiguous range of guest memory, validated when it is used. A range that is not RAM or crosses from one region
/// into another fails with `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRange {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
}

/// Returns the total length of `ranges` in bytes.
#[must_use]
pub fn total(ranges: &[GuestRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}

/// Returns the part of `ranges` behind their first `skip` bytes.
pub fn behind(ranges: &[GuestRange], mut skip: u64) -> impl Iterator<Item = GuestRange> {
    ranges.iter().filter_map(move |range| {
        let skipped = u32::try_from(skip).unwrap_or(u32::MAX).min(range.len);
        skip -= u64::from(skipped);
        (skipped < range.len)
            .then(|| GuestRange { address: range.address.saturating_add(skipped.into()), len: range.len - skipped })
    })
}

/// Marks the first `count` bytes of these ranges in the dirty log, after a [`RingCall::Read`] has written them.
/// [`read_at`] does so itself.
pub fn note_written(ram: &GuestRam, ranges: &[GuestRange], mut count: u64) {
    for range in ranges {
        let len = count.min(range.len.into());
        count -= len;
        if let Some(region) = ram.find_region(GuestAddress(range.address))
            && let (Ok(start), Ok(len)) =
                (usize::try_from(range.address - region.start_addr().raw_value()), usize::try_from(len))
        {
            region.bitmap().mark_dirty(start, len);
        }
    }
}
