//! Guest I/O: a file's bytes to and from guest RAM without a copy in between.
//!
//! - `vectors`: ranges of guest memory as addresses in this process.
//! - `direct`: `preadv` and `pwritev`, at once.
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

/// Ranges that one call takes, Linux's `IOV_MAX`.
const LONGEST: usize = 1024;

/// A run of guest memory. It is checked where it is used; what is not RAM, or goes from one region into another, is `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRange {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
}

/// How many bytes these are together.
#[must_use]
pub fn total(ranges: &[GuestRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}

/// What is left of `ranges` behind their first `skip` bytes.
pub fn behind(ranges: &[GuestRange], mut skip: u64) -> impl Iterator<Item = GuestRange> {
    ranges.iter().filter_map(move |range| {
        let skipped = u32::try_from(skip).unwrap_or(u32::MAX).min(range.len);
        skip -= u64::from(skipped);
        (skipped < range.len)
            .then(|| GuestRange { address: range.address.saturating_add(skipped.into()), len: range.len - skipped })
    })
}

/// Notes for the dirty log that the first `count` bytes of these ranges were written by a [`RingCall::Read`]. [`read_at`] does so itself.
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
