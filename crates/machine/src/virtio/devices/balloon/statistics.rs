//! The memory statistics of a guest (section 5.5.6.4).

use std::time::SystemTime;

/// A statistic, with the tag of the specification and of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Bytes swapped in.
    SwapIn,
    /// Bytes swapped out.
    SwapOut,
    /// Page faults that waited for a disk.
    MajorFaults,
    /// Other page faults.
    MinorFaults,
    /// Bytes of unused memory.
    Free,
    /// Bytes of memory in total.
    Total,
    /// Bytes of memory that are available without swapping.
    Available,
    /// Bytes of file caches that can be dropped.
    Caches,
    /// Huge pages allocated.
    HugePageAllocations,
    /// Huge page allocations that failed.
    HugePageFailures,
    /// Processes killed because the guest ran out of memory.
    OomKill,
    /// Allocations that waited for reclaim.
    AllocStall,
    /// Pages scanned by background reclaim.
    AsyncScan,
    /// Pages scanned by direct reclaim of an allocation.
    DirectScan,
    /// Pages reclaimed by background reclaim.
    AsyncReclaim,
    /// Pages reclaimed directly by an allocation.
    DirectReclaim,
}

/// Number of statistics.
const COUNT: usize = 16;

/// Size of an entry in bytes: tag, 16 bits, and value, 64 bits.
const ENTRY: usize = 10;

/// The guest's statistics at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    values: [Option<u64>; COUNT],
    /// When the device received them.
    pub time: SystemTime,
}

impl Statistics {
    /// Parses a buffer of the statistics queue. Unknown tags are skipped. If a tag occurs more than once, the last value counts.
    pub(super) fn parse(buffer: &[u8], time: SystemTime) -> Self {
        let mut values = [None; COUNT];
        for entry in buffer.chunks_exact(ENTRY) {
            if let ([tag_low, tag_high, value @ ..], true) = (entry, entry.len() == ENTRY)
                && let Some(slot) = values.get_mut(usize::from(u16::from_le_bytes([*tag_low, *tag_high])))
            {
                *slot = <[u8; 8]>::try_from(value).ok().map(u64::from_le_bytes);
            }
        }
        Self { values, time }
    }

    /// Returns a value, if the guest has reported it.
    #[must_use]
    pub fn get(&self, statistic: Statistic) -> Option<u64> {
        self.values[statistic as usize]
    }

    /// Returns all values, in the order of [`Statistic`].
    #[must_use]
    pub const fn values(&self) -> &[Option<u64>; COUNT] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn test_the_last_one_is_in_its_place() {
        assert_eq!(Statistic::DirectReclaim as usize, COUNT - 1);
        assert_eq!(Statistic::OomKill as usize, 10);
    }

    proptest! {
        #[test]
        fn test_the_last_report_is_read(entries in prop::collection::vec((0_u16..20, any::<u64>()), 0..30), rest in 0_usize..10) {
            let mut buffer: Vec<u8> =
                entries.iter().flat_map(|(tag, value)| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()).collect();
            buffer.extend(vec![0xff; rest]);
            let statistics = Statistics::parse(&buffer, SystemTime::UNIX_EPOCH);
            for (tag, value) in (0_u16..).zip(statistics.values()) {
                let reported = entries.iter().rev().find(|entry| entry.0 == tag).map(|entry| entry.1);
                prop_assert_eq!(*value, reported);
            }
        }
    }
}
