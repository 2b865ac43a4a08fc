//! The time-stamp counter's frequency.

/// Deviation up to which two frequencies count as equal, in parts per million. NTP corrects clocks by as much, so a
/// guest does not notice the difference.
const TOLERANCE_PPM: u64 = 250;

/// Returns whether to call KVM_SET_TSC_KHZ: the hardware scales, or the wanted frequency is close enough to the host's.
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
