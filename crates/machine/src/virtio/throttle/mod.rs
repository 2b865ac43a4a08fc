//! Rate limits of a device, by QEMU's rules: `throttling.bps-total`, `throttling.iops-total`, the same for reads and for writes, and their bursts.
//!
//! Each limit is a leaky bucket. It leaks at the average rate; a request passes while the bucket is not overfull, and then goes in, so that a
//! large request passes too and is paid for afterwards.

mod bucket;
mod config;

pub use config::{Direction, Rate, Rates, ThrottleConfig};

use super::interface::HostError;
use super::interface::lease::{Holder, Lease};
use bucket::Buckets;
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

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
mod tests;
