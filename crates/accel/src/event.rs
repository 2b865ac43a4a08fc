//! What the accelerator tells its owner. The core speaks through a trait it owns; the binding implements it.

use crate::Request;
use crate::debug::DebugStop;
use kvm_accel_kvm::state::Registers;
use serde::{Deserialize, Serialize};

/// Receives events on vCPU threads. An implementation never blocks; it may drop notify events and warnings (and count
/// them), never [`Event::Stopped`].
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// Something that happened in a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A notify VM exit, real or injected.
    Notify(Box<NotifyEvent>),
    /// A bus lock.
    BusLock(Box<BusLockEvent>),
    /// Something a user should read once.
    Warning(Warning),
    /// All vCPUs are outside the guest.
    Stopped(StopReason),
}

/// One notify VM exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyEvent {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// State of the vCPU at the exit; not to be trusted when the context is invalid.
    pub registers: Registers,
    /// The instruction at rip in Intel syntax; empty when it cannot be read.
    pub instruction: String,
    /// KVM_NOTIFY_CONTEXT_INVALID.
    pub context_invalid: bool,
    /// The guest goes on.
    pub resumed: bool,
    /// Notify exits of this vCPU so far, this one included.
    pub total: u64,
    /// Made by the drill, not by the hardware.
    pub injected: bool,
}

/// One bus lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusLockEvent {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// State of the vCPU after the locked access.
    pub registers: Registers,
    /// The instruction at rip in Intel syntax; empty when it cannot be read.
    pub instruction: String,
    /// Bus locks of this vCPU so far, this one included.
    pub total: u64,
    /// How long the vCPU is kept out of the guest for it.
    pub throttled: std::time::Duration,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is about.
    pub code: WarningCode,
    /// One line, or several when it carries a register dump.
    pub message: String,
}

/// Stable names of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarningCode {
    /// A notify policy was asked for and this host cannot enforce it.
    NotifyUnsupported,
    /// A notify exit happened.
    NotifyExit,
    /// More vCPUs than the kernel recommends.
    ManyVcpus,
    /// Dirty rings were asked for and this host has none.
    DirtyRingUnsupported,
    /// Manual protection of dirty pages was refused.
    ManualProtectFailed,
    /// Features were asked for that this host does not offer.
    CpuFeatureUnavailable,
    /// A CPU model that is not made: the guest sees the host's.
    CpuModelUnavailable,
    /// The host cannot leave idling to the guest.
    CpuPmUnsupported,
    /// KVM could not emulate an instruction of user-mode code; the guest goes on.
    EmulationFailure,
    /// A driver broke the rules of its device, which does nothing until it is reset.
    DeviceNeedsReset,
    /// A vCPU does not leave the guest.
    VcpuNotStopped,
    /// A device's thread was still at work when the machine had to stop.
    DeviceNotStill,
    /// The host failed a device, which does nothing until its driver resets it.
    DeviceHostError,
}

impl WarningCode {
    /// The name users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotifyUnsupported => "NOTIFY_UNSUPPORTED",
            Self::NotifyExit => "NOTIFY_EXIT",
            Self::DirtyRingUnsupported => "DIRTY_RING_UNSUPPORTED",
            Self::ManualProtectFailed => "MANUAL_PROTECT_FAILED",
            Self::ManyVcpus => "MANY_VCPUS",
            Self::DeviceNeedsReset => "DEVICE_NEEDS_RESET",
            Self::VcpuNotStopped => "VCPU_NOT_STOPPED",
            Self::DeviceNotStill => "DEVICE_NOT_STILL",
            Self::DeviceHostError => "DEVICE_HOST_ERROR",
            Self::CpuFeatureUnavailable => "CPU_FEATURE_UNAVAILABLE",
            Self::CpuModelUnavailable => "CPU_MODEL_UNAVAILABLE",
            Self::CpuPmUnsupported => "CPU_PM_UNSUPPORTED",
            Self::EmulationFailure => "EMULATION_FAILURE",
        }
    }
}

/// Why all vCPUs left the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// [`crate::Vcpus::pause`] was called.
    Paused,
    /// A breakpoint, watchpoint or step: run state `debug`.
    Debug(DebugStop),
    /// The guest asked for something.
    Guest(Request),
    /// A vCPU cannot go on: run state `internal-error`.
    Fault(Fault),
}

/// Why a vCPU cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// What kind.
    pub kind: FaultKind,
    /// One line.
    pub message: String,
    /// Registers and code bytes as QEMU prints them, several lines.
    pub report: String,
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// A notify exit under `internal-error`, over the budget, or with an invalid context.
    Notify,
    /// KVM_EXIT_INTERNAL_ERROR.
    InternalError,
    /// Any other exit that leaves nothing to go on with, or a failing KVM_RUN.
    Exit,
    /// The host has lost guest memory.
    Memory,
    /// The kernel refused a changed register state or the clock.
    State,
}

impl FaultKind {
    /// The name users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::InternalError => "kvm-internal-error",
            Self::Exit => "exit",
            Self::Memory => "memory",
            Self::State => "state",
        }
    }
}
