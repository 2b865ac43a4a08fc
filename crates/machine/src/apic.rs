//! The APICs as the MP table and the MADT describe them: addresses and ids.

use crate::MachineConfigError;
use kvm_accel::cpu::Topology;

/// Address of the registers of each local APIC.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Address of the registers of the IOAPIC.
pub const IOAPIC: u32 = 0xfec0_0000;
/// The id that stands for all local APICs.
pub const ALL_PROCESSORS: u8 = 0xff;

/// Returns the APIC ids of the processors.
///
/// # Errors
/// [`MachineConfigError`] if an id does not fit in a byte below [`ALL_PROCESSORS`].
pub fn apic_ids(topology: &Topology) -> Result<Vec<u8>, MachineConfigError> {
    let too_many =
        || MachineConfigError::new("cpus", "too many vCPUs for an MP table: expected at most 255", "Use fewer vCPUs.");
    let id = |index| u8::try_from(topology.apic_id(index)).ok().filter(|id| *id < ALL_PROCESSORS).ok_or_else(too_many);
    (0..topology.cpus()).map(id).collect()
}
