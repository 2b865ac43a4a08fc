//! Bounds of histogram buckets, in ascending order as the kernel stores them. (QEMU's `query-stats` shows them last bucket first.)

use super::format::StatKind;

/// One bucket: how many samples fell into `from <= sample < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The lowest sample in the bucket.
    pub from: u64,
    /// The lowest sample beyond the bucket. `None` for the last bucket, which contains all larger samples.
    pub to: Option<u64>,
    /// The number of samples.
    pub count: u64,
}

impl StatKind {
    /// Returns the bounds `[from, to)` of bucket `index`, counted from 0, of `buckets`. Returns `None` for a statistic
    /// that is not a histogram.
    #[must_use]
    pub fn bucket_bounds(self, index: usize, buckets: usize) -> Option<(u64, Option<u64>)> {
        let edge = |n: usize| match self {
            Self::LinearHistogram { bucket_size } => {
                Some(u64::from(bucket_size).saturating_mul(u64::try_from(n).unwrap_or(u64::MAX)))
            }
            // 0, 1, 2, 4, 8, ...
            Self::Log2Histogram => Some(n.checked_sub(1).map_or(0, |power| {
                u32::try_from(power).ok().and_then(|power| 1_u64.checked_shl(power)).unwrap_or(u64::MAX)
            })),
            Self::Cumulative | Self::Instant | Self::Peak => None,
        };
        let from = edge(index)?;
        let to = if index + 1 >= buckets { None } else { edge(index + 1) };
        Some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn test_bounds_are_those_of_the_kernels_documentation() {
        let linear = StatKind::LinearHistogram { bucket_size: 10 };
        let bounds = |kind: StatKind| (0..4).map(|n| kind.bucket_bounds(n, 4).unwrap()).collect::<Vec<_>>();
        assert_eq!(bounds(linear), [(0, Some(10)), (10, Some(20)), (20, Some(30)), (30, None)]);
        assert_eq!(bounds(StatKind::Log2Histogram), [(0, Some(1)), (1, Some(2)), (2, Some(4)), (4, None)]);
        assert_eq!(StatKind::Peak.bucket_bounds(0, 1), None);
    }

    proptest! {
        #[test]
        fn test_buckets_leave_no_gap(size in any::<u32>(), index in 0usize..70, log in any::<bool>()) {
            let kind = if log { StatKind::Log2Histogram } else { StatKind::LinearHistogram { bucket_size: size } };
            let (_, to) = kind.bucket_bounds(index, 100).unwrap();
            let (next, _) = kind.bucket_bounds(index + 1, 100).unwrap();
            prop_assert_eq!(to, Some(next));
        }
    }
}
