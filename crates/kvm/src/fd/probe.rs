//! The host's KVM features, for `kvm-accel doctor`.

use super::system::System;
use crate::Result;
use std::path::Path;

/// The highest capability number of the kernels that were known when this was written.
const LAST_CAPABILITY: u32 = 250;

/// The properties of an open device.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// KVM_GET_API_VERSION. Always 12: opening a device with another version fails.
    pub api_version: u32,
    /// Number and value of every capability that is not 0, in ascending order.
    pub capabilities: Vec<(u32, u32)>,
}

/// Opens the device and queries every capability. Creates no VM.
///
/// # Errors
/// Opening the device fails, or it implements another API version.
pub fn probe(device: &Path) -> Result<HostReport> {
    let system = System::open(device)?;
    let capabilities = (0..=LAST_CAPABILITY)
        .map(|number| (number, system.check_number(number)))
        .filter(|&(_, value)| value != 0)
        .collect();
    Ok(HostReport { api_version: 12, capabilities })
}
