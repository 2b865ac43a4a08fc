//! The time-stamp counter's frequency.

/// What NTP may bend a clock by, in parts per million: a guest cannot tell such frequencies apart.
const TOLERANCE_PPM: u64 = 250;

/// Whether KVM_SET_TSC_KHZ is to be tried: the hardware scales, or the wanted frequency is as good as the host's.
#[must_use]
pub fn may_set(scaling: bool, host_khz: u32, wanted_khz: u32) -> bool {
    let tolerated = u64::from(host_khz) * TOLERANCE_PPM / 1_000_000;
    scaling || u64::from(host_khz.abs_diff(wanted_khz)) <= tolerated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_set_only_within_tolerance_without_scaling() {
        assert!(may_set(true, 2_000_000, 1_000_000));
        assert!(may_set(false, 2_000_000, 2_000_500) && may_set(false, 2_000_000, 1_999_500));
        assert!(!may_set(false, 2_000_000, 2_000_501) && !may_set(false, 0, 1));
    }
}
