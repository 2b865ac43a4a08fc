//! Ioctls of a vCPU fd.

use super::{Result, answer};
use kvm_bindings::{kvm_interrupt, kvm_sregs2};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref};

const KVM_INTERRUPT: libc::c_ulong = 0x4004_ae86;
const KVM_X86_SETUP_MCE: libc::c_ulong = 0x4008_ae9c;
const KVM_GET_SREGS2: libc::c_ulong = 0x8140_aecc;
const KVM_SET_SREGS2: libc::c_ulong = 0x4140_aecd;

/// Calls KVM_INTERRUPT.
///
/// # Errors
/// The error of the ioctl.
pub fn interrupt(vcpu: &VcpuFd, vector: u8) -> Result<()> {
    let argument = kvm_interrupt { irq: vector.into() };
    // SAFETY: the ioctl reads one kvm_interrupt, which outlives the call.
    answer(unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT, &argument) }).map(drop)
}

/// Calls KVM_X86_SETUP_MCE with a vCPU's MCG_CAP.
///
/// # Errors
/// The error of the ioctl.
pub fn setup_mce(vcpu: &VcpuFd, mcg_cap: u64) -> Result<()> {
    // SAFETY: the kernel reads one u64.
    answer(unsafe { ioctl_with_ref(vcpu, KVM_X86_SETUP_MCE, &mcg_cap) }).map(drop)
}

/// Calls KVM_GET_SREGS2.
///
/// # Errors
/// The error of the ioctl.
pub fn get_sregs2(vcpu: &VcpuFd) -> Result<kvm_sregs2> {
    let mut sregs = kvm_sregs2::default();
    // SAFETY: the ioctl writes one kvm_sregs2.
    answer(unsafe { ioctl_with_mut_ref(vcpu, KVM_GET_SREGS2, &mut sregs) })?;
    Ok(sregs)
}

/// Calls KVM_SET_SREGS2.
///
/// # Errors
/// The error of the ioctl.
pub fn set_sregs2(vcpu: &VcpuFd, sregs: &kvm_sregs2) -> Result<()> {
    // SAFETY: the ioctl reads one kvm_sregs2, which outlives the call.
    answer(unsafe { ioctl_with_ref(vcpu, KVM_SET_SREGS2, sregs) }).map(drop)
}
