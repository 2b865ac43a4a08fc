//! Rate limits of a device as TypeScript hands them over.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::throttle::{Rate, ThrottleConfig};
use napi_derive::napi;

/// See `ThrottleOptions` in TypeScript; 0 is no limit.
#[napi(object, object_to_js = false)]
pub struct BindingThrottle {
    /// Bytes.
    pub bytes_per_second: i64,
    /// Bytes.
    pub bytes_per_second_max: i64,
    /// Seconds.
    pub bytes_per_second_max_length: i64,
    /// Number.
    pub operations_per_second: i64,
    /// Number.
    pub operations_per_second_max: i64,
    /// Seconds.
    pub operations_per_second_max_length: i64,
    /// Bytes.
    pub operation_size: i64,
}

impl BindingThrottle {
    /// The limits of a device of this machine option.
    pub fn into_config(self, option: &'static str) -> Result<ThrottleConfig, MachineConfigError> {
        let rate = |average, max, seconds| match (number(average), number(max)) {
            (0, _) => Ok(None),
            (average, 0) => Rate::new(option, average).map(Some),
            (average, max) => Rate::new(option, average)?.with_burst(option, max, number(seconds)).map(Some),
        };
        Ok(ThrottleConfig {
            bytes: rate(self.bytes_per_second, self.bytes_per_second_max, self.bytes_per_second_max_length)?,
            operations: rate(
                self.operations_per_second,
                self.operations_per_second_max,
                self.operations_per_second_max_length,
            )?,
            operation_size: number(self.operation_size),
        })
    }
}

/// A negative number is too large for any limit.
fn number(raw: i64) -> u64 {
    u64::try_from(raw).unwrap_or(u64::MAX)
}
