//! Bus lock throttling: computes how long a vCPU waits after a bus lock, so that a machine stays within a number of
//! locks per second.
//!
//! The arithmetic is QEMU's (`qemu/ratelimit.h`). A slice of one second has a quota. A vCPU that exceeds it waits for
//! the end of as many slices as all locks so far would have filled.

use std::time::Duration;

const SLICE: Duration = Duration::from_secs(1);

/// Counts the bus locks of one machine.
#[derive(Debug)]
pub struct Throttle {
    quota: u64,
    slice: Option<(Duration, Duration)>,
    taken: u64,
}

impl Throttle {
    /// Creates a throttle for `per_second` locks, at least 1.
    #[must_use]
    pub const fn new(per_second: u64) -> Self {
        Self { quota: if per_second == 0 { 1 } else { per_second }, slice: None, taken: 0 }
    }

    /// Counts a lock at `now` (any monotonic clock). Returns how long its vCPU waits.
    ///
    /// ```
    /// use kvm_accel::cpu::bus_lock::Throttle;
    /// use std::time::Duration;
    ///
    /// let mut throttle = Throttle::new(2);
    /// assert_eq!(throttle.delay(Duration::ZERO), Duration::ZERO);
    /// assert_eq!(throttle.delay(Duration::ZERO), Duration::from_secs(1));
    /// ```
    pub fn delay(&mut self, now: Duration) -> Duration {
        let (start, end) = match self.slice {
            Some(slice) if slice.1 >= now => slice,
            _ => {
                self.taken = 0;
                (now, now + SLICE)
            }
        };
        self.taken = self.taken.saturating_add(1);
        if self.taken < self.quota {
            self.slice = Some((start, end));
            return Duration::ZERO;
        }
        let slices = u32::try_from(self.taken.saturating_mul(1000) / self.quota).unwrap_or(u32::MAX);
        let end = start.saturating_add(SLICE.saturating_mul(slices) / 1000);
        self.slice = Some((start, end));
        end.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn test_locks_below_the_quota_pass_and_others_wait() {
        let mut throttle = Throttle::new(4);
        let delays: Vec<_> = [0, 10, 20, 30, 40].map(|now| throttle.delay(MS(now))).to_vec();
        assert_eq!(delays, [MS(0), MS(0), MS(0), MS(970), MS(1210)]);
        // The slices that were used up have ended.
        assert_eq!(throttle.delay(MS(1251)), MS(0));
    }

    proptest! {
        #[test]
        fn test_never_more_than_the_quota_in_a_second(quota in 1u64..50, steps in prop::collection::vec(0u64..200, 1..300)) {
            let mut throttle = Throttle::new(quota);
            let mut now = MS(0);
            let mut times = Vec::new();
            for step in steps {
                now += MS(step);
                times.push(now);
                now += throttle.delay(now);
            }
            for (at, first) in times.iter().enumerate() {
                let within = times.iter().skip(at).filter(|time| **time - *first < SLICE).count();
                // The end of one slice and the start of the next.
                prop_assert!(u64::try_from(within).unwrap() <= 2 * quota);
            }
        }
    }
}
