//! Rate limits of a device, with the semantics of QEMU's `throttling.bps-total` and `throttling.iops-total`, the same options for reads and
//! for writes, and their bursts.
//!
//! Each limit is a leaky bucket, which leaks at the average rate. A request passes unless the bucket is overfull, and is then added to the
//! bucket. A large request thus passes at once, and later requests wait for it.

mod bucket;
mod config;

pub use config::{Direction, Rate, Rates, ThrottleConfig};

use super::interface::HostError;
use super::interface::exclusive::{Claim, Exclusive};
use bucket::Buckets;
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The rate limits of a device, for its I/O thread. A request that [`Self::admit`] refuses waits until [`Self::source`] is readable.
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
    /// Creates the limits, with empty buckets.
    ///
    /// # Errors
    /// When the kernel cannot create a timer.
    pub fn new(config: &ThrottleConfig) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { buckets: Buckets::new(config, Instant::now()), timer })
    }

    /// Returns true if a request of this many bytes may pass. Otherwise it arms the timer and returns false: the caller keeps the request,
    /// and calls again when the timer has fired.
    ///
    /// # Errors
    /// When the kernel cannot arm the timer.
    pub fn admit(&mut self, direction: Direction, bytes: u64) -> io::Result<bool> {
        let Err(wait) = self.buckets.admit(direction, bytes, Instant::now()) else { return Ok(true) };
        let value = Timespec::try_from(wait).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(false)
    }

    /// Returns the timer to poll while a request waits.
    #[must_use]
    pub fn source(&self) -> PollFd<'_> {
        PollFd::new(&self.timer, PollFlags::IN)
    }

    /// Clears the timer after it has fired.
    pub fn fired(&self) {
        // If a later request armed the timer again, there is nothing to read, and the timer fires later.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }
}

/// The throttle of a device. It outlives the workers, so that a reset of the device does not bypass a limit.
pub type ExclusiveThrottle = Exclusive<Throttle>;

/// A worker's claim on its device's throttle.
pub type ThrottleClaim = Claim<Throttle>;

impl ThrottleClaim {
    /// See [`Throttle::admit`].
    ///
    /// # Errors
    /// See [`Throttle::admit`].
    pub fn admit(&mut self, direction: Direction, bytes: u64) -> io::Result<bool> {
        self.get_mut().map_or(Ok(true), |throttle| throttle.admit(direction, bytes))
    }

    /// See [`Throttle::source`].
    #[must_use]
    pub fn source(&self) -> Option<PollFd<'_>> {
        self.get().map(Throttle::source)
    }

    /// See [`Throttle::fired`].
    pub fn fired(&self) {
        self.get().into_iter().for_each(Throttle::fired);
    }
}

/// Returns the error of a rate limit whose timer failed.
pub(super) fn timer(error: &io::Error) -> HostError {
    HostError::new("cannot set the timer of a rate limit", error, "Check whether the host is out of kernel memory.")
}

#[cfg(test)]
mod tests;
