//! Ioctls of the system fd.

use super::{Result, answer};
use kvm_bindings::CpuId;
use kvm_ioctls::Kvm;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_mut_ref};

const KVM_GET_SUPPORTED_HV_CPUID: libc::c_ulong = 0xc008_aec1;
const KVM_X86_GET_MCE_CAP_SUPPORTED: libc::c_ulong = 0x8008_ae9d;

/// Calls KVM_X86_GET_MCE_CAP_SUPPORTED. Returns the bits of MCG_CAP that a vCPU can have.
///
/// # Errors
/// The error of the ioctl.
pub fn mce_cap_supported(kvm: &Kvm) -> Result<u64> {
    let mut supported = 0;
    // SAFETY: the kernel writes one u64.
    answer(unsafe { ioctl_with_mut_ref(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &mut supported) })?;
    Ok(supported)
}

/// Calls KVM_GET_SUPPORTED_HV_CPUID, for at most `count` leaves.
///
/// # Errors
/// The error of the ioctl.
pub fn supported_hv_cpuid(kvm: &Kvm, count: usize) -> Result<CpuId> {
    let mut leaves = CpuId::new(count).map_err(|_| errno::Error::new(libc::ENOMEM))?;
    // SAFETY: the kernel writes at most as many entries as the header states, which `CpuId` has allocated.
    answer(unsafe { ioctl_with_mut_ptr(kvm, KVM_GET_SUPPORTED_HV_CPUID, leaves.as_mut_fam_struct_ptr()) })?;
    Ok(leaves)
}
