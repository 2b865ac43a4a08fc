//! Rate limits of a device, by QEMU's rules: `throttling.bps-total`, `throttling.iops-total`, the same for reads and for writes, and their bursts.
//!
//! Each limit is a leaky bucket. It leaks at the average rate; a request passes while the bucket is not overfull, and then goes in, so that a
//! large request passes too and is paid for afterwards.

use super::interface::HostError;
use super::interface::lease::{Holder, Lease};
use crate::MachineConfigError;
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The largest rate and burst, QEMU's `THROTTLE_VALUE_MAX`: 10^15 units a second.
const LARGEST: u64 = 1_000_000_000_000_000;

/// Nanoseconds in a second: levels are in billionths of a unit, so that nothing is rounded.
const NANOS: u128 = 1_000_000_000;

/// One limit: units (bytes, operations) a second, and how far bursts may go beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    average: u64,
    burst: Option<Burst>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Burst {
    max: u64,
    seconds: u64,
}

impl Rate {
    /// `average` units a second, from 1 to 10^15. Without a burst the average holds over 100 ms.
    ///
    /// # Errors
    /// [`MachineConfigError`], which blames `option`.
    pub fn new(option: &'static str, average: u64) -> Result<Self, MachineConfigError> {
        if !(1..=LARGEST).contains(&average) {
            let message = format!("a rate limit is from 1 to {LARGEST} units a second, and {average} was given");
            return Err(MachineConfigError::new(option, message, "Leave the limit out for none."));
        }
        Ok(Self { average, burst: None })
    }

    /// Bursts of `max` units a second for `seconds`, after which the average holds again.
    ///
    /// # Errors
    /// [`MachineConfigError`] when `max` is below the average, or both numbers together are too large.
    pub fn with_burst(self, option: &'static str, max: u64, seconds: u64) -> Result<Self, MachineConfigError> {
        let refuse = |message, remedy| Err(MachineConfigError::new(option, message, remedy));
        if max < self.average || max > LARGEST {
            let message =
                format!("a burst of {max} units a second is not from the average, {}, to {LARGEST}", self.average);
            return refuse(message, "Give a burst at least as large as the average rate.");
        }
        if seconds == 0 || seconds > LARGEST / max {
            let message = format!("a burst of {max} units a second cannot last {seconds} s");
            return refuse(message, "Let it last 1 s or more, and rate times length be at most 10^15.");
        }
        Ok(Self { average: self.average, burst: Some(Burst { max, seconds }) })
    }
}

/// Rates that belong together; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes a second.
    pub bytes: Option<Rate>,
    /// Operations a second.
    pub operations: Option<Rate>,
}

/// Which way data goes, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the guest.
    Read,
    /// From the guest.
    Write,
}

/// The limits of a device; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Both directions together.
    pub total: Rates,
    /// Reads alone.
    pub reads: Rates,
    /// Writes alone.
    pub writes: Rates,
    /// Bytes that count as one operation, QEMU's `iops-size`: a larger request is several. 0: each request is one.
    pub operation_size: u64,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// Billionths of a unit that have not leaked yet.
    level: u128,
    /// The same, leaking at the burst's rate: what keeps a long burst from being one huge leap.
    burst_level: u128,
}

impl Bucket {
    const fn new(rate: Rate) -> Self {
        Self { rate, level: 0, burst_level: 0 }
    }

    fn leak(&mut self, elapsed: Duration) {
        let nanos = elapsed.as_nanos();
        let after = |level: u128, rate: u64| level.saturating_sub(nanos.saturating_mul(rate.into()));
        self.level = after(self.level, self.rate.average);
        self.burst_level = self.rate.burst.map_or(0, |burst| after(self.burst_level, burst.max));
    }

    /// How long until a request may pass.
    fn wait(&self) -> Duration {
        let until = |level: u128, size: u128, rate: u64| {
            let nanos = level.saturating_sub(size).div_ceil(rate.into());
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        // A tenth of a second of the rate, as QEMU has it.
        let tenth = |rate: u64| u128::from(rate) * NANOS / 10;
        match self.rate.burst {
            None => until(self.level, tenth(self.rate.average), self.rate.average),
            Some(Burst { max, seconds }) => {
                let size = u128::from(max) * u128::from(seconds) * NANOS;
                let long = until(self.level, size, self.rate.average);
                // A second's burst is the bucket itself.
                if seconds > 1 { long.max(until(self.burst_level, tenth(max), max)) } else { long }
            }
        }
    }

    fn fill(&mut self, units: u64) {
        let units = u128::from(units) * NANOS;
        self.level = self.level.saturating_add(units);
        self.burst_level = self.burst_level.saturating_add(units);
    }
}

/// The buckets of one set of limits.
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

/// The limits at work, as a function of time.
#[derive(Debug)]
struct Buckets {
    total: Pair,
    reads: Pair,
    writes: Pair,
    operation_size: u64,
    last: Instant,
}

impl Buckets {
    fn new(config: &ThrottleConfig, now: Instant) -> Self {
        Self {
            total: Pair::new(&config.total),
            reads: Pair::new(&config.reads),
            writes: Pair::new(&config.writes),
            operation_size: config.operation_size,
            last: now,
        }
    }

    /// Lets a request pass, or says how long it has to wait.
    fn admit(&mut self, direction: Direction, bytes: u64, now: Instant) -> Result<(), Duration> {
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

/// The limits of one device, for its I/O thread: what [`Self::admit`] refuses waits until [`Self::source`] is readable.
///
/// ```
/// use kvm_accel_machine::virtio::throttle::{Direction, Rates, Rate, Throttle, ThrottleConfig};
///
/// let total = Rates { operations: Some(Rate::new("throttle", 10)?), ..Default::default() };
/// let mut throttle = Throttle::new(&ThrottleConfig { total, ..Default::default() })?;
/// assert!(throttle.admit(Direction::Read, 4096)?);
/// assert!(throttle.admit(Direction::Read, 4096)?, "the average holds over 100 ms");
/// assert!(!throttle.admit(Direction::Write, 4096)?, "and a third one waits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Throttle {
    buckets: Buckets,
    timer: OwnedFd,
}

impl Throttle {
    /// Empty buckets.
    ///
    /// # Errors
    /// The kernel's, when it has no timer left.
    pub fn new(config: &ThrottleConfig) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { buckets: Buckets::new(config, Instant::now()), timer })
    }

    /// Lets a request of this many bytes pass, or arms the timer and says no: whoever asked keeps the request, and asks again when the timer
    /// has fired.
    ///
    /// # Errors
    /// The kernel's, for the timer.
    pub fn admit(&mut self, direction: Direction, bytes: u64) -> io::Result<bool> {
        let Err(wait) = self.buckets.admit(direction, bytes, Instant::now()) else { return Ok(true) };
        let value = Timespec::try_from(wait).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(false)
    }

    /// What to poll while a request waits.
    #[must_use]
    pub fn source(&self) -> PollFd<'_> {
        PollFd::new(&self.timer, PollFlags::IN)
    }

    /// The timer has fired.
    pub fn fired(&self) {
        // Nothing to read: somebody armed it again in between, and it fires later.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }
}

/// A device's throttle, which outlives its workers: a reset of the device is no way around a limit.
pub type ThrottleHolder = Holder<Throttle>;

/// A worker's use of its device's throttle.
pub type ThrottleLease = Lease<Throttle>;

impl ThrottleLease {
    /// As [`Throttle::admit`].
    ///
    /// # Errors
    /// As [`Throttle::admit`].
    pub fn admit(&mut self, direction: Direction, bytes: u64) -> io::Result<bool> {
        self.get_mut().map_or(Ok(true), |throttle| throttle.admit(direction, bytes))
    }

    /// As [`Throttle::source`].
    #[must_use]
    pub fn source(&self) -> Option<PollFd<'_>> {
        self.get().map(Throttle::source)
    }

    /// As [`Throttle::fired`].
    pub fn fired(&self) {
        self.get().into_iter().for_each(Throttle::fired);
    }
}

/// The error of a rate limit whose timer the kernel refuses.
pub(super) fn timer(error: &io::Error) -> HostError {
    HostError::new("a rate limit cannot set its timer", error, "Look for a lack of kernel memory on the host.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(average: u64) -> Rate {
        Rate::new("throttle", average).unwrap()
    }

    fn bytes(rate: Rate) -> Rates {
        Rates { bytes: Some(rate), operations: None }
    }

    fn operations(rate: Rate) -> Rates {
        Rates { bytes: None, operations: Some(rate) }
    }

    /// How many units pass within `time` when a request of `size` always waits.
    fn passed(rate: Rate, size: u64, time: Duration) -> u64 {
        let start = Instant::now();
        let mut now = start;
        let mut buckets = Buckets::new(&ThrottleConfig { total: bytes(rate), ..Default::default() }, start);
        let mut units = 0;
        while now - start < time {
            match buckets.admit(Direction::Read, size, now) {
                Ok(()) => units += size,
                Err(wait) => now += wait,
            }
        }
        units
    }

    #[test]
    fn the_average_holds_over_seconds() {
        let units = passed(rate(1_000_000), 4096, Duration::from_secs(10));
        assert!((10_000_000..10_200_000).contains(&units), "{units}");
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_and_is_paid_for() {
        let units = passed(rate(1000), 100_000, Duration::from_secs(950));
        assert_eq!(units, 1_000_000);
    }

    #[test]
    fn a_burst_lasts_as_long_as_it_says() {
        let burst = rate(1000).with_burst("throttle", 10_000, 3).unwrap();
        let units = passed(burst, 10, Duration::from_secs(2));
        assert!((20_000..22_000).contains(&units), "a long burst goes at its own rate: {units}");
        let units = passed(burst, 10, Duration::from_secs(1000));
        assert!((1_000_000..1_035_000).contains(&units), "and the average holds afterwards: {units}");
    }

    #[test]
    fn a_large_request_counts_as_several_operations() {
        let start = Instant::now();
        let config = ThrottleConfig { total: operations(rate(10)), operation_size: 4096, ..Default::default() };
        let mut buckets = Buckets::new(&config, start);
        assert_eq!(buckets.admit(Direction::Read, 40_960, start), Ok(()));
        assert_eq!(buckets.admit(Direction::Write, 1, start), Err(Duration::from_millis(900)));
        assert_eq!(buckets.admit(Direction::Write, 1, start + Duration::from_millis(900)), Ok(()));
    }

    #[test]
    fn reads_and_writes_have_limits_of_their_own() {
        let start = Instant::now();
        let config = ThrottleConfig { reads: operations(rate(1)), writes: bytes(rate(1 << 20)), ..Default::default() };
        let mut buckets = Buckets::new(&config, start);
        assert_eq!(buckets.admit(Direction::Read, 1 << 30, start), Ok(()));
        assert_eq!(buckets.admit(Direction::Read, 1, start), Err(Duration::from_millis(900)));
        assert_eq!(buckets.admit(Direction::Write, 1 << 20, start), Ok(()));
        assert_eq!(buckets.admit(Direction::Write, 1, start), Err(Duration::from_millis(900)));
        let later = start + Duration::from_millis(900);
        assert_eq!(buckets.admit(Direction::Read, 1, later), Ok(()));
        assert_eq!(buckets.admit(Direction::Write, 1, later), Ok(()));
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        assert!(Rate::new("throttle", 0).is_err());
        assert!(Rate::new("throttle", LARGEST + 1).is_err());
        assert!(rate(10).with_burst("throttle", 9, 1).is_err());
        assert!(rate(10).with_burst("throttle", 10, 0).is_err());
        assert!(rate(10).with_burst("throttle", LARGEST, 2).is_err());
    }

    #[test]
    fn the_timer_fires_when_a_request_may_pass() {
        let mut throttle =
            Throttle::new(&ThrottleConfig { total: operations(rate(100)), ..Default::default() }).unwrap();
        while throttle.admit(Direction::Write, 0).unwrap() {}
        rustix::event::poll(&mut [throttle.source()], None).unwrap();
        throttle.fired();
        assert!(throttle.admit(Direction::Write, 0).unwrap());
    }

    proptest! {
        #[test]
        fn waiting_as_long_as_told_is_enough(
            average in 1..=LARGEST, factor in 1..100_u64, seconds in 1..100_u64, sizes in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let burst = rate(average).with_burst("throttle", average.saturating_mul(factor), seconds);
            let mut bucket = Bucket::new(burst.unwrap_or(rate(average)));
            for size in sizes {
                bucket.fill(size);
                let wait = bucket.wait();
                bucket.leak(wait);
                prop_assert!(wait == Duration::from_nanos(u64::MAX) || bucket.wait().is_zero());
            }
        }
    }
}
