//! The configuration of rate limits. Constructors check the ranges.

use crate::MachineConfigError;

/// The largest rate and burst, QEMU's `THROTTLE_VALUE_MAX`: 10^15 units per second.
pub const LARGEST: u64 = 1_000_000_000_000_000;

/// One limit: an average in units (bytes or operations) per second, and an optional burst above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(super) average: u64,
    pub(super) burst: Option<Burst>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    pub max: u64,
    pub seconds: u64,
}

impl Rate {
    /// Creates a limit of `average` units per second, from 1 to 10^15. Without a burst, the average holds over 100 ms.
    ///
    /// # Errors
    /// [`MachineConfigError`], which names `option`.
    pub fn new(option: &'static str, average: u64) -> Result<Self, MachineConfigError> {
        if !(1..=LARGEST).contains(&average) {
            let message = format!("invalid rate limit of {average} units per second: expected 1 to {LARGEST}");
            return Err(MachineConfigError::new(option, message, "Omit the limit for an unlimited rate."));
        }
        Ok(Self { average, burst: None })
    }

    /// Allows bursts of `max` units per second for `seconds`, after which the average holds again.
    ///
    /// # Errors
    /// [`MachineConfigError`] when `max` is below the average or above 10^15, when `seconds` is 0, or when `max` times `seconds` is above
    /// 10^15.
    pub fn with_burst(self, option: &'static str, max: u64, seconds: u64) -> Result<Self, MachineConfigError> {
        let refuse = |message, remedy| Err(MachineConfigError::new(option, message, remedy));
        if max < self.average || max > LARGEST {
            let message = format!(
                "invalid burst of {max} units per second: expected the average rate, {}, to {LARGEST}",
                self.average
            );
            return refuse(message, "Use a burst of at least the average rate.");
        }
        if seconds == 0 || seconds > LARGEST / max {
            let message = format!(
                "invalid length of {seconds} s for a burst of {max} units per second: expected at least 1 s, and rate times length of at most 10^15"
            );
            return refuse(message, "Use another length, or a smaller burst.");
        }
        Ok(Self { average: self.average, burst: Some(Burst { max, seconds }) })
    }
}

/// A limit for bytes and a limit for operations; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes per second.
    pub bytes: Option<Rate>,
    /// Operations per second.
    pub operations: Option<Rate>,
}

/// The direction of a transfer, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The device transfers data to the guest.
    Read,
    /// The device transfers data from the guest.
    Write,
}

/// The rate limits of a device; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Limits for both directions together.
    pub total: Rates,
    /// Limits for reads only.
    pub reads: Rates,
    /// Limits for writes only.
    pub writes: Rates,
    /// Bytes that count as one operation, QEMU's `iops-size`: a larger request counts as several operations. With 0, each request counts as
    /// one.
    pub operation_size: u64,
}
