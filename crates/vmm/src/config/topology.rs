//! The number and the arrangement of the vCPUs, QEMU's `-smp`.

use kvm_accel::cpu::Topology;
use kvm_accel_machine::MachineConfigError;
use serde::{Deserialize, Serialize};

/// The most vCPUs: the xAPIC has 8 bits for an id, and 255 is the broadcast.
const MAX_CPUS: u32 = 255;

/// How the vCPUs are arranged, each level 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyConfig {
    /// Packages.
    pub sockets: u32,
    /// Dies of a package.
    pub dies: u32,
    /// Cores of a die.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl TopologyConfig {
    /// Checks each level, and that all of them together are `cpus` vCPUs.
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
