//! Limits the reports of emulation failures that the guest survives, because a guest can cause such failures without
//! limit.

use std::time::Duration;

/// Number of failures per machine that are reported in full.
const FULL: u64 = 8;
/// Minimum time between two reports of a count.
const PERIOD: Duration = Duration::from_secs(1);

/// What to report of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The whole report, with registers and code.
    Full,
    /// One line with the number of failures since the last report, including this one.
    Count(u64),
    /// Nothing now. A later count includes this failure.
    Later,
}

/// Counts the failures of one machine. The result depends only on the times that the caller passes.
#[derive(Debug, Default)]
pub struct Failures {
    full: u64,
    /// Number of failures that no report includes yet.
    unreported: u64,
    /// Time of the last report.
    last: Duration,
}

impl Failures {
    /// Records a failure at `now`, which any monotonic clock may supply.
    pub fn note(&mut self, now: Duration) -> Report {
        if self.full < FULL {
            self.full += 1;
            self.last = now;
            return Report::Full;
        }
        self.unreported += 1;
        if now.saturating_sub(self.last) < PERIOD {
            return Report::Later;
        }
        self.last = now;
        Report::Count(std::mem::take(&mut self.unreported))
    }

    /// Takes the number of failures that no report includes, when the machine stops.
    pub fn take(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.unreported)).filter(|count| *count > 0)
    }
}

/// Returns the message for `count` failures.
pub fn message(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!(
        "KVM could not emulate {count} more instruction{s} of user-mode code; only the first {FULL} are reported in full"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn test_the_first_failures_are_reported_in_full_and_the_rest_as_a_number_each_second() {
        let mut failures = Failures::default();
        let at = Duration::from_millis;
        for millisecond in 0..FULL {
            assert_eq!(failures.note(at(millisecond)), Report::Full);
        }
        assert_eq!(failures.take(), None);
        assert_eq!(failures.note(at(8)), Report::Later);
        assert_eq!(failures.note(at(1006)), Report::Later);
        assert_eq!(failures.note(at(1007)), Report::Count(3));
        assert_eq!(failures.note(at(1008)), Report::Later);
        assert_eq!(failures.take(), Some(1));
        assert_eq!(failures.take(), None);
    }

    #[test]
    fn test_the_message_has_the_count() {
        assert!(message(1).contains("1 more instruction of"), "{}", message(1));
        assert!(message(20).contains("20 more instructions of"), "{}", message(20));
        assert!(!message(20).contains('\n'));
    }

    proptest! {
        /// No failure is lost, and no second has more than one count.
        #[test]
        fn test_every_failure_is_reported_once(gaps in proptest::collection::vec(0_u64..700, 0..300)) {
            let (mut failures, mut now, mut reported, mut numbers) = (Failures::default(), Duration::ZERO, 0, Vec::new());
            for gap in &gaps {
                now += Duration::from_millis(*gap);
                match failures.note(now) {
                    Report::Full => reported += 1,
                    Report::Count(count) => {
                        reported += count;
                        numbers.push(now);
                    }
                    Report::Later => {}
                }
            }
            reported += failures.take().unwrap_or(0);
            prop_assert_eq!(reported, gaps.len() as u64);
            prop_assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] >= PERIOD));
        }
    }
}
