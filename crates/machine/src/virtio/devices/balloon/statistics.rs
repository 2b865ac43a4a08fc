//! What a guest says of its memory (section 5.5.6.4).

use std::time::SystemTime;

/// What is counted, by the numbers of the specification and of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Bytes that were swapped in.
    SwapIn,
    /// Bytes that were swapped out.
    SwapOut,
    /// Page faults that had to wait for a disk.
    MajorFaults,
    /// Other page faults.
    MinorFaults,
    /// Bytes that nothing uses.
    Free,
    /// Bytes that there are.
    Total,
    /// Bytes that can be had without swapping.
    Available,
    /// Bytes of files that can be dropped.
    Caches,
    /// Huge pages that were allocated.
    HugePageAllocations,
    /// Huge pages that could not be allocated.
    HugePageFailures,
    /// Processes that were killed for want of memory.
    OomKill,
    /// Allocations that had to wait for reclaim.
    AllocStall,
    /// Pages that reclaim in the background has looked at.
    AsyncScan,
    /// Pages that allocations have looked at.
    DirectScan,
    /// Pages that the background has reclaimed.
    AsyncReclaim,
    /// Pages that allocations have reclaimed.
    DirectReclaim,
}

/// How many there are.
const COUNT: usize = 16;

/// An entry: which one, 16 bits, and its value, 64 bits.
const ENTRY: usize = 10;

/// What was said at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    values: [Option<u64>; COUNT],
    /// When it was said.
    pub time: SystemTime,
}

impl Statistics {
    /// A buffer of the statistics queue. What is not known is passed over, and of two values for the same the second counts.
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

    /// A value, if the guest has said it.
    #[must_use]
    pub fn get(&self, statistic: Statistic) -> Option<u64> {
        self.values[statistic as usize]
    }

    /// All values, in the order of [`Statistic`].
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
        fn test_what_was_said_last_is_read(entries in prop::collection::vec((0_u16..20, any::<u64>()), 0..30), rest in 0_usize..10) {
            let mut buffer: Vec<u8> =
                entries.iter().flat_map(|(tag, value)| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()).collect();
            buffer.extend(vec![0xff; rest]);
            let statistics = Statistics::parse(&buffer, SystemTime::UNIX_EPOCH);
            for (tag, value) in (0_u16..).zip(statistics.values()) {
                let said = entries.iter().rev().find(|entry| entry.0 == tag).map(|entry| entry.1);
                prop_assert_eq!(*value, said);
            }
        }
    }
}
