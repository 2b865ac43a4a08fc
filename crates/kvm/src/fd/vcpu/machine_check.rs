//! Machine checks and the time-stamp counter: what a vCPU is set up with besides CPUID.

use super::failed;
use super::system::System;
use super::vcpu::Vcpu;
use crate::cpu::cpuid::Leaf;
use crate::{Capability, Error, Result};
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};

const KVM_X86_SETUP_MCE: libc::c_ulong = 0x4008_ae9c;
const KVM_X86_GET_MCE_CAP_SUPPORTED: libc::c_ulong = 0x8008_ae9d;

/// MCG_CTL_P and MCG_SER_P: what QEMU offers, and how many banks.
const OFFERED: u64 = 1 << 8 | 1 << 24;
const BANKS: u32 = 10;

const MCE_AND_MCA: u32 = 1 << 7 | 1 << 14;

/// What a guest with this CPUID is offered of machine checks; `None` when its CPU has none.
pub fn machine_checks(system: &System, leaves: &[Leaf]) -> Result<Option<u64>> {
    let has = leaves
        .iter()
        .any(|leaf| leaf.function == 1 && leaf.eax >> 8 & 0xf >= 6 && leaf.edx & MCE_AND_MCA == MCE_AND_MCA);
    let banks = system.check(Capability::Mce);
    if !has || banks == 0 {
        return Ok(None);
    }
    let mut supported = 0u64;
    // SAFETY: the kernel writes one u64.
    let result = unsafe { ioctl_with_mut_ref(system.fd(), KVM_X86_GET_MCE_CAP_SUPPORTED, &mut supported) };
    done(result).map_err(failed("KVM_X86_GET_MCE_CAP_SUPPORTED", ""))?;
    Ok(Some(supported & OFFERED | u64::from(BANKS.min(banks))))
}

fn done(result: libc::c_int) -> std::result::Result<(), errno::Error> {
    if result < 0 { Err(errno::Error::last()) } else { Ok(()) }
}

impl Vcpu {
    /// KVM_X86_SETUP_MCE.
    pub fn set_up_machine_checks(&self, capabilities: u64) -> Result<()> {
        // SAFETY: the kernel reads one u64.
        let result = unsafe { ioctl_with_ref(&self.fd, KVM_X86_SETUP_MCE, &capabilities) };
        done(result).map_err(self.failed("KVM_X86_SETUP_MCE"))
    }

    /// Sets the time-stamp counter's frequency, where it is not the wanted one anyway. `scaling`: the hardware can.
    pub fn set_tsc_khz(&self, scaling: bool, wanted: u32) -> Result<()> {
        let current = self.fd.get_tsc_khz().map_err(self.failed("KVM_GET_TSC_KHZ")).unwrap_or(0);
        let set = crate::cpu::may_set(scaling, current, wanted)
            .then(|| self.fd.set_tsc_khz(wanted).map_err(self.failed("KVM_SET_TSC_KHZ")));
        match set {
            Some(Ok(())) => Ok(()),
            _ if current == wanted => Ok(()),
            _ => Err(Error::TscFrequency { wanted, current }),
        }
    }
}
