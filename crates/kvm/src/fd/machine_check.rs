//! Machine checks: the kernel's support, and the set-up of a vCPU.

use super::cpuid::Leaf;
use super::system::System;
use super::vcpu::Vcpu;
use crate::error::failed;
use crate::upstream;
use crate::{Capability, Result};

/// MCG_CTL_P and MCG_SER_P, which QEMU supports. [`BANKS`] is its number of banks.
const OFFERED: u64 = 1 << 8 | 1 << 24;
const BANKS: u32 = 10;

const MCE_AND_MCA: u32 = 1 << 7 | 1 << 14;

/// Returns the machine check capabilities of a guest with this CPUID. Returns `None` if the guest's CPU lacks machine
/// checks.
pub fn machine_checks(system: &System, leaves: &[Leaf]) -> Result<Option<u64>> {
    let has = leaves
        .iter()
        .any(|leaf| leaf.function == 1 && leaf.eax >> 8 & 0xf >= 6 && leaf.edx & MCE_AND_MCA == MCE_AND_MCA);
    let banks = system.check(Capability::Mce);
    if !has || banks == 0 {
        return Ok(None);
    }
    let supported = upstream::system::mce_cap_supported(system.fd());
    let supported = supported.map_err(failed("KVM_X86_GET_MCE_CAP_SUPPORTED", ""))?;
    Ok(Some(supported & OFFERED | u64::from(BANKS.min(banks))))
}

impl Vcpu {
    /// Calls KVM_X86_SETUP_MCE.
    pub fn set_up_machine_checks(&self, capabilities: u64) -> Result<()> {
        upstream::vcpu::setup_mce(&self.fd, capabilities).map_err(self.failed("KVM_X86_SETUP_MCE"))
    }
}
