//! Rate limits of a device.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::throttle::{Rate, Rates, ThrottleConfig as Throttle};
use serde::{Deserialize, Serialize};

/// Rate limits of one direction, or of both together; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsConfig {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Bytes a second in a burst.
    pub bytes_per_second_max: u64,
    /// Seconds of a burst.
    pub bytes_per_second_max_length: u64,
    /// Operations a second.
    pub operations_per_second: u64,
    /// Operations a second in a burst.
    pub operations_per_second_max: u64,
    /// Seconds of a burst.
    pub operations_per_second_max_length: u64,
}

/// Rate limits of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Both directions together.
    pub total: LimitsConfig,
    /// To the guest.
    pub reads: LimitsConfig,
    /// From the guest.
    pub writes: LimitsConfig,
    /// Bytes that count as one operation; 0: a request is one operation.
    pub operation_size: u64,
}

impl ThrottleConfig {
    /// The limits of a device of the machine option `option`.
    pub(super) fn check(self, option: &'static str) -> Result<Throttle, MachineConfigError> {
        Ok(Throttle {
            total: self.total.check(option)?,
            reads: self.reads.check(option)?,
            writes: self.writes.check(option)?,
            operation_size: self.operation_size,
        })
    }
}

impl LimitsConfig {
    fn check(self, option: &'static str) -> Result<Rates, MachineConfigError> {
        let rate = |average, max, seconds| match (average, max) {
            (0, _) => Ok(None),
            (average, 0) => Rate::new(option, average).map(Some),
            (average, max) => Rate::new(option, average)?.with_burst(option, max, seconds).map(Some),
        };
        Ok(Rates {
            bytes: rate(self.bytes_per_second, self.bytes_per_second_max, self.bytes_per_second_max_length)?,
            operations: rate(
                self.operations_per_second,
                self.operations_per_second_max,
                self.operations_per_second_max_length,
            )?,
        })
    }
}
