//! The capabilities that every machine requires.

use kvm_accel_kvm::Capability;

/// Checked at start, in this order; the error names the first missing one. The list contains QEMU 10.0's required
/// capabilities, generic before x86, then KVM_CAP_IRQFD and KVM_CAP_IMMEDIATE_EXIT, without which serial interrupts and
/// kicks would need a second implementation.
pub const REQUIRED: &[Capability] = &[
    Capability::UserMemory,
    Capability::DestroyMemoryRegionWorks,
    Capability::JoinMemoryRegionsWorks,
    Capability::InternalErrorData,
    Capability::Ioeventfd,
    Capability::IoeventfdAnyLength,
    Capability::SetTssAddr,
    Capability::ExtCpuid,
    Capability::MpState,
    Capability::SignalMsi,
    Capability::IrqRouting,
    Capability::Debugregs,
    Capability::Xsave,
    Capability::VcpuEvents,
    Capability::X86RobustSinglestep,
    Capability::Mce,
    Capability::AdjustClock,
    Capability::SetIdentityMapAddr,
    Capability::Irqfd,
    Capability::ImmediateExit,
];
