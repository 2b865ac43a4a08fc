//! Splits requests into slices, which the device does one at a time.

use super::image::SLICE;
use kvm_accel::guest_io::{GuestRange, behind, total};

/// The most ranges that one system call takes.
const MOST_RANGES: usize = 1024;

/// Returns the part of these ranges that begins at `from` and has at most [`SLICE`] bytes, and its length. `end` is the length of all
/// ranges. `slice` is scratch memory for the result.
pub fn cut<'a>(
    ranges: &'a [GuestRange],
    from: u64,
    end: u64,
    slice: &'a mut Vec<GuestRange>,
) -> (&'a [GuestRange], u64) {
    if from == 0 && end <= SLICE && ranges.len() <= MOST_RANGES && total(ranges) == end {
        return (ranges, end);
    }
    let mut left = SLICE.min(end - from);
    for range in behind(ranges, from).take(MOST_RANGES) {
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(range.len);
        slice.push(GuestRange { len, ..range });
        left -= u64::from(len);
        if left == 0 {
            break;
        }
    }
    (slice, total(slice))
}

/// Returns how many bytes to discard or zero in one call: up to the next multiple of `extent`, so that no cluster is split.
pub const fn extent(offset: u64, len: u64, extent: u64) -> u64 {
    let room = extent - offset % extent;
    if len < room { len } else { room }
}
