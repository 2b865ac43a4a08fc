//! The CMOS clock.

use kvm_accel_machine::devices::RtcConfig as Rtc;
use serde::{Deserialize, Serialize};

/// Nanoseconds in a millisecond.
const NANOS: i128 = 1_000_000;

/// What the CMOS clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcConfig {
    /// Milliseconds by which the clock is ahead of the host's.
    pub offset: i64,
    /// What drives the clock.
    pub clock: RtcClock,
}

/// What drives the CMOS clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RtcClock {
    /// The host's clock.
    Host,
    /// The machine: the clock stops while the machine is stopped.
    Vm,
}

impl From<RtcConfig> for Rtc {
    fn from(RtcConfig { offset, clock }: RtcConfig) -> Self {
        Self { offset: i128::from(offset) * NANOS, stops: clock == RtcClock::Vm }
    }
}
