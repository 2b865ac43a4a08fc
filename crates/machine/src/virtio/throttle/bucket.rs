//! Leaky buckets. Their level is a pure function of time.

use super::config::{Burst, Direction, Rate, Rates, ThrottleConfig};
use std::time::{Duration, Instant};

/// Nanoseconds in a second. Levels are in billionths of a unit, so leaking causes no rounding.
const NANOS: u128 = 1_000_000_000;

/// The bucket of one limit.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// The level, in billionths of a unit.
    level: u128,
    /// The level of a second bucket, which leaks at the burst's rate. It spreads a burst of several seconds over its length.
    burst_level: u128,
}

impl Bucket {
    pub const fn new(rate: Rate) -> Self {
        Self { rate, level: 0, burst_level: 0 }
    }

    pub fn leak(&mut self, elapsed: Duration) {
        let nanos = elapsed.as_nanos();
        let after = |level: u128, rate: u64| level.saturating_sub(nanos.saturating_mul(rate.into()));
        self.level = after(self.level, self.rate.average);
        self.burst_level = self.rate.burst.map_or(0, |burst| after(self.burst_level, burst.max));
    }

    /// Returns how long the next request has to wait.
    pub fn wait(&self) -> Duration {
        let until = |level: u128, size: u128, rate: u64| {
            let nanos = level.saturating_sub(size).div_ceil(rate.into());
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        // The bucket holds a tenth of a second at its rate, as in QEMU.
        let tenth = |rate: u64| u128::from(rate) * NANOS / 10;
        match self.rate.burst {
            None => until(self.level, tenth(self.rate.average), self.rate.average),
            Some(Burst { max, seconds }) => {
                let size = u128::from(max) * u128::from(seconds) * NANOS;
                let long = until(self.level, size, self.rate.average);
                // For a burst of one second, the size of the bucket alone limits the burst.
                if seconds > 1 { long.max(until(self.burst_level, tenth(max), max)) } else { long }
            }
        }
    }

    pub fn fill(&mut self, units: u64) {
        let units = u128::from(units) * NANOS;
        self.level = self.level.saturating_add(units);
        self.burst_level = self.burst_level.saturating_add(units);
    }
}

/// The buckets for bytes and for operations of one set of limits.
#[derive(Debug)]
struct Pair {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

impl Pair {
    fn new(limits: &Rates) -> Self {
        Self { bytes: limits.bytes.map(Bucket::new), operations: limits.operations.map(Bucket::new) }
    }

    fn each(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.bytes.iter_mut().chain(&mut self.operations)
    }
}

/// The buckets of a device. Their levels are a function of time.
#[derive(Debug)]
pub struct Buckets {
    total: Pair,
    reads: Pair,
    writes: Pair,
    operation_size: u64,
    last: Instant,
}

impl Buckets {
    pub fn new(config: &ThrottleConfig, now: Instant) -> Self {
        Self {
            total: Pair::new(&config.total),
            reads: Pair::new(&config.reads),
            writes: Pair::new(&config.writes),
            operation_size: config.operation_size,
            last: now,
        }
    }

    /// Admits a request, or returns how long it has to wait.
    pub fn admit(&mut self, direction: Direction, bytes: u64, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.last);
        self.last = now;
        let all = self.total.each().chain(self.reads.each()).chain(self.writes.each());
        all.for_each(|bucket| bucket.leak(elapsed));
        let own = match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
        };
        let wait = self.total.each().chain(own.each()).map(|bucket| bucket.wait()).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        let operations = if self.operation_size == 0 { 1 } else { bytes.div_ceil(self.operation_size).max(1) };
        for pair in [&mut self.total, own] {
            pair.bytes.iter_mut().for_each(|bucket| bucket.fill(bytes));
            pair.operations.iter_mut().for_each(|bucket| bucket.fill(operations));
        }
        Ok(())
    }
}
