//! What the host offers, for `kvm-accel doctor`.

use super::system::System;
use crate::Result;
use std::path::Path;

/// The highest capability number of the kernels known when this was written.
const LAST_CAPABILITY: u32 = 250;

/// Answers of an open device.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// KVM_GET_API_VERSION; always 12, or the device is refused.
    pub api_version: u32,
    /// Number and value of every capability that is not 0, in ascending order.
    pub capabilities: Vec<(u32, u32)>,
}

/// Opens the device and asks for every capability. Creates no VM.
///
/// # Errors
/// The device cannot be opened or speaks another API version.
pub fn probe(device: &Path) -> Result<HostReport> {
    let system = System::open(device)?;
    let capabilities = (0..=LAST_CAPABILITY)
        .map(|number| (number, system.check_number(number)))
        .filter(|&(_, value)| value != 0)
        .collect();
    Ok(HostReport { api_version: 12, capabilities })
}
