//! The model, the features and the other properties of QEMU's `-cpu`.

use serde::{Deserialize, Serialize};

/// A feature to turn on or off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureChange {
    /// QEMU's name. See [`names`](super::features::names).
    pub name: String,
    /// True turns the feature on.
    pub on: bool,
}

/// The properties of QEMU's `-cpu`.
///
/// A caller of the machine writes this structure as JSON, and [`cpuid`](super::cpuid) applies it. A new property is a field here, its range in
/// [`CpuProperties::check`], and the code that uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuProperties {
    /// `host`, `max`, or one of [`MODELS`](super::models::MODELS). Another name is the host's CPU with a warning.
    pub model: String,
    /// The vendor, 12 ASCII characters. `None` is the host's.
    pub vendor: Option<String>,
    /// In the order in which they apply.
    pub features: Vec<FeatureChange>,
    /// Warns about requested features that the host does not support.
    pub check: bool,
    /// Fails on requested features that the host does not support.
    pub enforce: bool,
    /// Reports KVM to the guest.
    pub kvm: bool,
    /// The performance monitoring unit. `None` is the host's for `host`, and no unit for a model.
    pub pmu: Option<bool>,
    /// Omits the invariant time-stamp counter.
    pub migratable: bool,
    /// Takes the host's number of physical address bits, even if `phys_bits` is another number.
    pub host_phys_bits: bool,
    /// The number of physical address bits, 32 to 52. 0 is the host's.
    pub phys_bits: u8,
    /// Hyper-V: the number of attempts after which a guest reports a long wait for a spin lock. `None` is never.
    pub hv_spinlocks: Option<u32>,
    /// Hyper-V: the name of the hypervisor, at most 12 ASCII characters. `None` is `Microsoft Hv`.
    pub hv_vendor_id: Option<String>,
    /// The time-stamp counter's frequency in kHz, at least 1. `None` is the host's.
    pub tsc_khz: Option<u32>,
}

impl Default for CpuProperties {
    /// Returns the host's CPU.
    fn default() -> Self {
        Self {
            model: "host".into(),
            vendor: None,
            features: Vec::new(),
            check: true,
            enforce: false,
            kvm: true,
            pmu: None,
            migratable: false,
            host_phys_bits: false,
            phys_bits: 0,
            hv_spinlocks: None,
            hv_vendor_id: None,
            tsc_khz: None,
        }
    }
}

impl CpuProperties {
    /// Checks the ranges.
    ///
    /// # Errors
    /// A sentence with the property, its value and the expected range.
    pub fn check(&self) -> Result<(), String> {
        if let Some(vendor) = self.vendor.as_ref().filter(|name| name.len() != 12 || !name.is_ascii()) {
            return Err(format!("cpu.vendor is '{vendor}': expected 12 ASCII characters, for example AuthenticAMD"));
        }
        if let Some(name) = self.hv_vendor_id.as_ref().filter(|name| name.len() > 12 || !name.is_ascii()) {
            return Err(format!("cpu.hvVendorId is '{name}': expected at most 12 ASCII characters"));
        }
        if self.tsc_khz == Some(0) {
            return Err("cpu.tscKhz is 0: expected at least 1".into());
        }
        if !matches!(self.phys_bits, 0 | 32..=52) {
            return Err(format!("cpu.physBits is {}: expected 32 to 52, or 0 for the host's number", self.phys_bits));
        }
        Ok(())
    }
}
