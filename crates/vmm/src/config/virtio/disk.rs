//! `virtio-blk`.

use super::throttle::ThrottleConfig;
use crate::Failure;
use kvm_accel_machine::virtio::DiskConfig as Disk;
use serde::{Deserialize, Serialize};

/// A disk and its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskConfig {
    /// A file, or a block device of the host.
    pub path: String,
    /// `raw` or `qcow2`. `None`: it is detected.
    pub format: Option<String>,
    /// The guest has read-only access.
    pub read_only: bool,
    /// The user's name of the disk. The guest does not see it.
    pub id: String,
    /// The serial number that the guest reads, at most 20 bytes.
    pub serial: String,
    /// The host may free the blocks that the guest discards.
    pub discard: bool,
    /// Rate limits.
    pub throttle: ThrottleConfig,
}

impl DiskConfig {
    pub(in crate::config) fn check(self) -> Result<Disk, Failure> {
        Ok(Disk {
            path: self.path.into(),
            format: self.format.map(|format| format.parse()).transpose()?,
            read_only: self.read_only,
            serial: self.serial,
            discard: self.discard,
            throttle: self.throttle.check("disks")?,
        })
    }
}
