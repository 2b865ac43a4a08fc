//! The CPU model and topology, QEMU's `-cpu` and `-smp`.

use kvm_accel::cpu::{FeatureChange, Topology};
use kvm_accel_machine::MachineConfigError;
use serde::{Deserialize, Serialize};

/// The most vCPUs. An xAPIC id has 8 bits, and id 255 is the broadcast.
const MAX_CPUS: u32 = 255;

/// The CPU model of the vCPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuModelConfig {
    /// `host`, `max`, or one of QEMU's models.
    pub model: String,
    /// Feature changes, in the order in which they apply.
    pub features: Vec<FeatureConfig>,
    /// Warns about features that the host does not support.
    pub check: bool,
    /// Fails if the host does not support a feature.
    pub enforce: bool,
    /// Shows the KVM signature and features in the guest's CPUID.
    pub kvm: bool,
    /// The guest has a performance monitoring unit; none is the model's default.
    pub pmu: Option<bool>,
    /// Hides the invariant TSC.
    pub migratable: bool,
    /// The TSC frequency in kHz, at least 1; none is the host's frequency.
    pub tsc_khz: Option<u32>,
}

/// A CPU feature to turn on or off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureConfig {
    /// QEMU's name of the feature.
    pub name: String,
    /// True to turn the feature on, false to turn it off.
    pub on: bool,
}

/// The CPU topology, each level 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyConfig {
    /// Number of packages.
    pub sockets: u32,
    /// Dies per package.
    pub dies: u32,
    /// Cores per die.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

impl CpuModelConfig {
    pub(super) fn check_frequency(&self) -> Result<(), MachineConfigError> {
        if self.tsc_khz == Some(0) {
            let message = "cpu.tscKhz is 0: expected at least 1";
            return Err(MachineConfigError::new("cpu", message, "Give a frequency of at least 1000 Hz, or none."));
        }
        Ok(())
    }
}

impl From<FeatureConfig> for FeatureChange {
    fn from(FeatureConfig { name, on }: FeatureConfig) -> Self {
        Self { name, on }
    }
}

impl TopologyConfig {
    /// Checks each level, and that their product is `cpus`.
    pub(super) fn check(self, cpus: u32) -> Result<Topology, MachineConfigError> {
        let Self { sockets, dies, cores, threads } = self;
        let levels = [sockets, dies, cores, threads];
        let product = levels.iter().try_fold(1u32, |product, level| product.checked_mul(*level));
        if product == Some(cpus) && (1..=MAX_CPUS).contains(&cpus) {
            return Ok(Topology { sockets, dies, cores, threads });
        }
        let message = format!(
            "topology has sockets {sockets}, dies {dies}, cores {cores}, threads {threads} for cpus {cpus}: \
             expected levels whose product is the number of vCPUs, 1 to {MAX_CPUS}"
        );
        Err(MachineConfigError::new("topology", message, "Omit the topology for a core of each vCPU."))
    }
}
