//! The capabilities without which no machine is created.

use kvm_accel_kvm::Capability;

/// Asked at start, in this order; the first missing one is named. QEMU 10.0's lists, generic before x86, and
/// KVM_CAP_IRQFD and KVM_CAP_IMMEDIATE_EXIT, without which serial interrupts and kicks would need a second way.
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
