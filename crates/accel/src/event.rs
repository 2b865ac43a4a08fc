//! The events that the accelerator emits to its owner, through a trait of this crate that the owner implements.

use crate::Request;
use crate::debug::DebugStop;
use kvm_accel_kvm::state::Registers;
use serde::{Deserialize, Serialize};

/// Receives events on vCPU threads. An implementation never blocks. It may drop (and count) notify events and warnings,
/// but never [`Event::Stopped`].
pub trait EventSink: Send + Sync {
    /// Handles one event.
    fn emit(&self, event: Event);
}

/// An event of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A notify VM exit, real or injected.
    Notify(Box<NotifyEvent>),
    /// A bus lock.
    BusLock(Box<BusLockEvent>),
    /// A warning that a user should read once.
    Warning(Warning),
    /// All vCPUs are outside the guest.
    Stopped(StopReason),
}

/// One notify VM exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifyEvent {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// State of the vCPU at the exit. Unreliable if the context is invalid.
    pub registers: Registers,
    /// The instruction at rip in Intel syntax. Empty if it is unreadable.
    pub instruction: String,
    /// KVM_NOTIFY_CONTEXT_INVALID.
    pub context_invalid: bool,
    /// The guest continues.
    pub resumed: bool,
    /// Notify exits of this vCPU so far, including this one.
    pub total: u64,
    /// The exit was injected, not caused by the hardware.
    pub injected: bool,
}

/// One bus lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusLockEvent {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// State of the vCPU after the locked access.
    pub registers: Registers,
    /// The instruction at rip in Intel syntax. Empty if it is unreadable.
    pub instruction: String,
    /// Bus locks of this vCPU so far, including this one.
    pub total: u64,
    /// How long the vCPU stays outside the guest because of this lock.
    pub throttled: std::time::Duration,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The kind of warning.
    pub code: WarningCode,
    /// One line, or several with a register dump.
    pub message: String,
}

/// Stable names of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WarningCode {
    /// The user requested a notify policy that this host cannot enforce.
    NotifyUnsupported,
    /// A notify exit occurred.
    NotifyExit,
    /// More vCPUs than the kernel recommends.
    ManyVcpus,
    /// The user requested dirty rings on a host without them.
    DirtyRingUnsupported,
    /// Enabling manual protection of dirty pages failed.
    ManualProtectFailed,
    /// The user requested features that this host lacks.
    CpuFeatureUnavailable,
    /// The CPU model is not supported: the guest sees the host's CPU.
    CpuModelUnavailable,
    /// The host cannot disable the exits of idle instructions.
    CpuPmUnsupported,
    /// KVM failed to emulate an instruction of user-mode code. The guest continues.
    EmulationFailure,
    /// A driver violated the rules of its device. The device is inactive until it is reset.
    DeviceNeedsReset,
    /// A vCPU does not leave the guest.
    VcpuNotStopped,
    /// A device's thread was still working when the machine had to stop.
    DeviceNotStill,
    /// A host error failed a device. The device is inactive until its driver resets it.
    DeviceHostError,
    /// The host could not write output of a port, which is lost.
    OutputLost,
    /// The reader of standard output has closed it: further output of the port is lost.
    StdoutClosed,
    /// The format of a disk image was not stated, and was detected as raw.
    DiskFormatDetected,
    /// Opening a disk image for writing has cleared its autoclear features.
    DiskFeaturesCleared,
}

impl WarningCode {
    /// Returns the name that users see.
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
            Self::OutputLost => "OUTPUT_LOST",
            Self::StdoutClosed => "STDOUT_CLOSED",
            Self::CpuFeatureUnavailable => "CPU_FEATURE_UNAVAILABLE",
            Self::CpuModelUnavailable => "CPU_MODEL_UNAVAILABLE",
            Self::CpuPmUnsupported => "CPU_PM_UNSUPPORTED",
            Self::EmulationFailure => "EMULATION_FAILURE",
            Self::DiskFormatDetected => "DISK_FORMAT_DETECTED",
            Self::DiskFeaturesCleared => "DISK_FEATURES_CLEARED",
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
    /// The guest made a request.
    Guest(Request),
    /// A vCPU cannot continue: run state `internal-error`.
    Fault(Fault),
}

/// Why a vCPU cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Index of the vCPU.
    pub vcpu: u32,
    /// The kind of fault.
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
    /// Any other exit after which the vCPU cannot continue, or a failed `KVM_RUN`.
    Exit,
    /// The host has lost guest memory.
    Memory,
    /// The kernel rejected a changed register state or the clock.
    State,
}

impl FaultKind {
    /// Returns the name that users see.
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
