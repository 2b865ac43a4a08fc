//! `virtio-vsock`.

use kvm_accel::cancel::Cancel;
use kvm_accel_machine::virtio::{Vsock, VsockLimits};
use kvm_accel_machine::{MachineConfigError, SetupError};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::path::Path;

/// The range of `max_connections`. A connection costs 128 KiB and up to 2 file descriptors.
const CONNECTIONS: RangeInclusive<u32> = 1..=1024;

/// A socket device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VsockConfig {
    /// The guest's CID.
    pub cid: u32,
    /// The Unix socket through which programs of the host connect to the guest.
    pub path: Option<String>,
    /// The most connections at a time, 1 to 1024.
    pub max_connections: u32,
}

impl VsockConfig {
    pub(in crate::config) fn check(&self) -> Result<(), MachineConfigError> {
        if CONNECTIONS.contains(&self.max_connections) {
            return Ok(());
        }
        let message = format!(
            "vsock.maxConnections is {}: expected {} to {}",
            self.max_connections,
            CONNECTIONS.start(),
            CONNECTIONS.end()
        );
        Err(MachineConfigError::new("vsock", message, "Omit it for 128 connections."))
    }

    /// Creates the device, and listens at the path.
    pub fn open(&self, cancel: &Cancel) -> Result<Vsock, SetupError> {
        let limits = VsockLimits::of_connections(usize::try_from(self.max_connections).unwrap_or(usize::MAX));
        Vsock::with_limits(self.cid, self.path.as_deref().map(Path::new), limits, cancel)
    }
}
