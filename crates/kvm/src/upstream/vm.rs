//! Ioctls of a VM fd.

use super::{Result, answer};
use kvm_bindings::{kvm_ioeventfd, kvm_irq_level, kvm_irq_level__bindgen_ty_1, kvm_reinject_control};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ref, ioctl_with_ref, ioctl_with_val};

const KVM_SET_NR_MMU_PAGES: libc::c_ulong = 0xae44;
const KVM_IRQ_LINE_STATUS: libc::c_ulong = 0xc008_ae67;
const KVM_REINJECT_CONTROL: libc::c_ulong = 0xae71;
const KVM_IOEVENTFD: libc::c_ulong = 0x4040_ae79;

/// Calls KVM_SET_NR_MMU_PAGES.
///
/// # Errors
/// The error of the ioctl.
pub fn set_nr_mmu_pages(vm: &VmFd, pages: u64) -> Result<()> {
    // SAFETY: the ioctl takes its argument by value and touches no memory of ours.
    answer(unsafe { ioctl_with_val(vm, KVM_SET_NR_MMU_PAGES, pages) }).map(drop)
}

/// Calls KVM_IRQ_LINE_STATUS. Returns the kernel's status: more than 0 delivered, 0 coalesced, below 0 ignored.
///
/// # Errors
/// The error of the ioctl.
pub fn irq_line_status(vm: &VmFd, gsi: u32, level: bool) -> Result<i32> {
    let mut line = kvm_irq_level { __bindgen_anon_1: kvm_irq_level__bindgen_ty_1 { irq: gsi }, level: level.into() };
    // SAFETY: the ioctl reads and writes one kvm_irq_level, which outlives the call.
    answer(unsafe { ioctl_with_mut_ref(vm, KVM_IRQ_LINE_STATUS, &mut line) })?;
    // SAFETY: both members are 32 bits without invalid values; the kernel has written this one.
    Ok(unsafe { line.__bindgen_anon_1.status })
}

/// Calls KVM_REINJECT_CONTROL: sets whether the PIT's lost ticks are delivered late.
///
/// # Errors
/// The error of the ioctl.
pub fn reinject_control(vm: &VmFd, reinject: bool) -> Result<()> {
    let control = kvm_reinject_control { pit_reinject: reinject.into(), ..Default::default() };
    // SAFETY: the ioctl reads one kvm_reinject_control, which outlives the call.
    answer(unsafe { ioctl_with_ref(vm, KVM_REINJECT_CONTROL, &control) }).map(drop)
}

/// Calls KVM_IOEVENTFD. kvm-ioctls does not support a size without a value.
///
/// # Errors
/// The error of the ioctl.
pub fn ioeventfd(vm: &VmFd, argument: &kvm_ioeventfd) -> Result<()> {
    // SAFETY: the ioctl reads one kvm_ioeventfd, which outlives the call, and takes its own reference to the eventfd.
    answer(unsafe { ioctl_with_ref(vm, KVM_IOEVENTFD, argument) }).map(drop)
}
