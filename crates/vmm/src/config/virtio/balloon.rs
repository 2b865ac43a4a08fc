//! `virtio-balloon`.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::{Balloon, BalloonConfig as Config};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A balloon device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalloonConfig {
    /// The balloon deflates when the guest runs out of memory.
    pub deflate_on_oom: bool,
    /// The guest reports free pages.
    pub free_page_reporting: bool,
    /// Milliseconds between two requests for the guest's memory statistics; 0 for none.
    pub statistics_interval: u32,
}

impl BalloonConfig {
    /// Creates the device with its timer.
    pub fn open(self) -> Result<Balloon, MachineConfigError> {
        Balloon::new(&Config {
            deflate_on_oom: self.deflate_on_oom,
            free_page_reporting: self.free_page_reporting,
            statistics_interval: Duration::from_millis(self.statistics_interval.into()),
        })
    }
}
