//! `virtio-rng`.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// An entropy device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RngConfig {
    /// The file from which the random bytes are read.
    pub source: String,
    /// Maximum number of bytes in a period, on average, at least 1. `None` is no limit.
    pub max_bytes: Option<u64>,
    /// Length of a period in milliseconds, at least 1.
    pub period: u32,
}

impl RngConfig {
    pub(in crate::config) fn check(&self) -> Result<(), MachineConfigError> {
        let zero = if self.max_bytes == Some(0) { "maxBytes" } else { "period" };
        if self.max_bytes == Some(0) || self.period == 0 {
            let message = format!("rng.{zero} is 0: expected at least 1");
            return Err(MachineConfigError::new("rng", message, "Omit maxBytes for no limit."));
        }
        Ok(())
    }

    /// Opens the source.
    pub fn open(&self) -> Result<Rng, MachineConfigError> {
        let period = Duration::from_millis(self.period.into());
        Rng::new(Path::new(&self.source), self.max_bytes.map(|bytes| (bytes, period)))
    }
}
