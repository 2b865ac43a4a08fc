//! The clock of the machine's timers. It stops while the machine is stopped.

use std::time::{Duration, Instant};

const NANOSECONDS: u128 = 1_000_000_000;

/// Counts ticks since power-on.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Ticks per second.
    frequency: u64,
    /// The time that had elapsed when the clock was last started.
    before: Duration,
    /// When the clock was last started; `None` while it is stopped.
    since: Option<Instant>,
}

impl Clock {
    /// Creates a stopped clock at 0.
    pub const fn new(frequency: u64) -> Self {
        Self { frequency, before: Duration::ZERO, since: None }
    }

    #[cfg(test)]
    pub const fn after(frequency: u64, before: Duration) -> Self {
        Self { before, ..Self::new(frequency) }
    }

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

    /// Returns the current tick.
    pub fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos() * u128::from(self.frequency) / NANOSECONDS).unwrap_or(u64::MAX)
    }

    /// Returns the time until `tick`; zero for a tick that has passed.
    pub fn until(&self, tick: u64) -> Duration {
        let at = (u128::from(tick) * NANOSECONDS).div_ceil(u128::from(self.frequency));
        Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)).saturating_sub(self.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_193_182;

    #[test]
    fn test_clock_stops_and_computes_the_next_tick() {
        let mut clock = Clock::after(SECOND, Duration::from_secs(1));
        assert_eq!((clock.now(), clock.now()), (SECOND, SECOND));
        assert_eq!(clock.until(SECOND), Duration::ZERO);
        assert_eq!(clock.until(2 * SECOND), Duration::from_secs(1));
        clock.start();
        assert!(clock.now() >= SECOND && clock.runs());
        clock.stop();
        assert_eq!(clock.now(), clock.now());
    }
}
