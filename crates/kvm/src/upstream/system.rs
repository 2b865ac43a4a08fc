//! An ioctl of the system fd.

use super::{Result, answer};
use kvm_ioctls::Kvm;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;

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
