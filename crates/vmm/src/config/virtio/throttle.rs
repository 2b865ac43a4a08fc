//! Rate limits of a device.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::throttle::{Rate, Rates, ThrottleConfig as Throttle};
use serde::{Deserialize, Serialize};

/// Rate limits of one direction, or of both directions together; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsConfig {
    /// Bytes per second.
    pub bytes_per_second: u64,
    /// Bytes per second during a burst.
    pub bytes_per_second_max: u64,
    /// Length of a burst of bytes in seconds.
    pub bytes_per_second_max_length: u64,
    /// Operations per second.
    pub operations_per_second: u64,
    /// Operations per second during a burst.
    pub operations_per_second_max: u64,
    /// Length of a burst of operations in seconds.
    pub operations_per_second_max_length: u64,
}

/// Rate limits of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ThrottleConfig {
    /// Limits for both directions together.
    pub total: LimitsConfig,
    /// Limits for reads, which move data to the guest.
    pub reads: LimitsConfig,
    /// Limits for writes, which move data from the guest.
    pub writes: LimitsConfig,
    /// Bytes that count as one operation; with 0, each request counts as one operation.
    pub operation_size: u64,
}

impl ThrottleConfig {
    /// Checks the limits of a device of the machine option `option`.
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
