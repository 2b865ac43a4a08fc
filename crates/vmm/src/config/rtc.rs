//! The CMOS clock.

use kvm_accel_machine::devices::RtcConfig as Rtc;
use serde::{Deserialize, Serialize};

/// Nanoseconds in a millisecond.
const NANOS: i128 = 1_000_000;

/// The time that the CMOS clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcConfig {
    /// Milliseconds by which the clock is ahead of the host's.
    pub offset: i64,
    /// The time source of the clock.
    pub clock: RtcClock,
}

/// The time source of the CMOS clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RtcClock {
    /// The host's clock. The clock runs while the machine is stopped.
    Host,
    /// The machine's clock. The clock stops while the machine is stopped.
    Vm,
}

impl From<RtcConfig> for Rtc {
    fn from(RtcConfig { offset, clock }: RtcConfig) -> Self {
        Self { offset: i128::from(offset) * NANOS, stops: clock == RtcClock::Vm }
    }
}
