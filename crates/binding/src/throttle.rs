//! Rate limits of a device as TypeScript hands them over.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::throttle::{Rate, Rates, ThrottleConfig};
use napi_derive::napi;

/// See `RateLimits` in TypeScript; 0 is no limit.
#[napi(object, object_to_js = false)]
pub struct BindingLimits {
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
}

/// See `ThrottleOptions` in TypeScript; 0 is no limit.
#[napi(object, object_to_js = false)]
pub struct BindingThrottle {
    /// Both directions together.
    pub total: BindingLimits,
    /// To the guest.
    pub reads: BindingLimits,
    /// From the guest.
    pub writes: BindingLimits,
    /// Bytes.
    pub operation_size: i64,
}

impl BindingThrottle {
    /// The limits of a device of this machine option.
    pub fn into_config(self, option: &'static str) -> Result<ThrottleConfig, MachineConfigError> {
        Ok(ThrottleConfig {
            total: rates(&self.total, option)?,
            reads: rates(&self.reads, option)?,
            writes: rates(&self.writes, option)?,
            operation_size: number(self.operation_size),
        })
    }
}

fn rates(raw: &BindingLimits, option: &'static str) -> Result<Rates, MachineConfigError> {
    let rate = |average, max, seconds| match (number(average), number(max)) {
        (0, _) => Ok(None),
        (average, 0) => Rate::new(option, average).map(Some),
        (average, max) => Rate::new(option, average)?.with_burst(option, max, number(seconds)).map(Some),
    };
    let bytes = rate(raw.bytes_per_second, raw.bytes_per_second_max, raw.bytes_per_second_max_length)?;
    let operations =
        rate(raw.operations_per_second, raw.operations_per_second_max, raw.operations_per_second_max_length)?;
    Ok(Rates { bytes, operations })
}

/// A negative number is too large for any limit.
fn number(raw: i64) -> u64 {
    u64::try_from(raw).unwrap_or(u64::MAX)
}
