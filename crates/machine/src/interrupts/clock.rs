//! The PIT's time: it stands still while the machine does.

use crate::devices::PIT_FREQUENCY;
use std::time::{Duration, Instant};

const NANOSECONDS: u128 = 1_000_000_000;

/// Ticks of the PIT since power-on.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Before it was last started.
    before: Duration,
    /// While it runs.
    since: Option<Instant>,
}

impl Clock {
    pub fn start(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    pub fn stop(&mut self) {
        self.before = self.elapsed();
        self.since = None;
    }

    pub const fn runs(&self) -> bool {
        self.since.is_some()
    }

    fn elapsed(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos() * u128::from(PIT_FREQUENCY) / NANOSECONDS).unwrap_or(u64::MAX)
    }

    /// How long it is until `tick`; nothing for one that has passed.
    pub fn until(&self, tick: u64) -> Duration {
        let at = (u128::from(tick) * NANOSECONDS).div_ceil(u128::from(PIT_FREQUENCY));
        Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)).saturating_sub(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_clock_stands_still_and_knows_when_a_tick_comes() {
        let mut clock = Clock { before: Duration::from_secs(1), since: None };
        assert_eq!((clock.now(), clock.now()), (PIT_FREQUENCY, PIT_FREQUENCY));
        assert_eq!(clock.until(PIT_FREQUENCY), Duration::ZERO);
        assert_eq!(clock.until(2 * PIT_FREQUENCY), Duration::from_secs(1));
        clock.start();
        assert!(clock.now() >= PIT_FREQUENCY && clock.runs());
        clock.stop();
        assert_eq!(clock.now(), clock.now());
    }
}
