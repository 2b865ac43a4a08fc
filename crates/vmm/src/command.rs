//! What a caller asks of a machine.

use crate::Operation;
use kvm_accel::VcpuState;
use kvm_accel::debug::Breakpoint;
use serde::{Deserialize, Serialize};

/// A command. It is executed on the control thread, after the commands that were sent before it, and answered by one
/// [`Reply`](crate::Reply) or [`Failure`](crate::Failure).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// Lets the guest run: `prelaunch` to `running`.
    Start,
    /// Lets the guest run on.
    Resume,
    /// Takes all vCPUs out of the guest and waits until every device is still. The guest may stop for a reason of its own first. The
    /// command then succeeds, too, and the state is that of the guest's reason.
    Pause,
    /// Puts the machine back to power-on. A running one goes on running, any other is then in `prelaunch`.
    Reset,
    /// Has one vCPU execute one instruction. The reply comes when the machine has stopped again.
    Step {
        /// Index of the vCPU.
        vcpu: u32,
    },
    /// Sends an NMI to every vCPU.
    InjectNmi,
    /// Has a vCPU treat its next interruption as a notify VM exit.
    InjectNotify {
        /// Index of the vCPU.
        vcpu: u32,
        /// `KVM_NOTIFY_CONTEXT_INVALID`.
        context_invalid: bool,
    },
    /// Reads a vCPU's register file.
    VcpuState {
        /// Index of the vCPU.
        vcpu: u32,
        /// [`Command::SetVcpuState`] follows: an error names that operation.
        to_change: bool,
    },
    /// Changes a vCPU's register file at its next entry.
    SetVcpuState {
        /// Index of the vCPU.
        vcpu: u32,
        /// The whole register file.
        state: Box<VcpuState>,
    },
    /// Adds a breakpoint or a watchpoint for all vCPUs.
    InsertBreakpoint {
        /// The vCPU whose page tables translate the address of a software breakpoint.
        vcpu: u32,
        /// The breakpoint.
        breakpoint: Breakpoint,
    },
    /// Removes a breakpoint or a watchpoint.
    RemoveBreakpoint {
        /// As when it was inserted.
        vcpu: u32,
        /// The breakpoint.
        breakpoint: Breakpoint,
    },
    /// Removes all breakpoints and watchpoints.
    ClearBreakpoints,
    /// Reads guest memory.
    ReadMemory {
        /// The vCPU whose page tables translate the address; none for a physical address.
        vcpu: Option<u32>,
        /// Linear or physical address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Writes guest memory. Bytes before an address that cannot be written have been written.
    WriteMemory {
        /// As for [`Command::ReadMemory`].
        vcpu: Option<u32>,
        /// Linear or physical address.
        address: u64,
        /// What to write.
        bytes: Vec<u8>,
    },
    /// Adds a device whose accesses the caller answers.
    AddDevice(DeviceClaim),
    /// Begins to record the pages that the guest writes.
    StartDirtyLog,
    /// Ends the recording, and forgets what was not taken.
    StopDirtyLog,
    /// Takes the recorded pages.
    TakeDirtyPages,
    /// Counts the pages that each vCPU has dirtied so far; an empty list without dirty rings.
    DirtyTotals,
}

impl Command {
    /// What this command is to the run state.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Start => Operation::Start,
            Self::Resume => Operation::Resume,
            Self::Pause => Operation::Pause,
            Self::Reset => Operation::Reset,
            Self::Step { .. } => Operation::Step,
            Self::InjectNmi => Operation::InjectNmi,
            Self::InjectNotify { .. } => Operation::InjectNotify,
            Self::VcpuState { to_change: false, .. } => Operation::VcpuState,
            Self::VcpuState { to_change: true, .. } | Self::SetVcpuState { .. } => Operation::SetVcpuState,
            Self::InsertBreakpoint { .. } => Operation::InsertBreakpoint,
            Self::RemoveBreakpoint { .. } => Operation::RemoveBreakpoint,
            Self::ClearBreakpoints => Operation::ClearBreakpoints,
            Self::ReadMemory { .. } => Operation::ReadMemory,
            Self::WriteMemory { .. } => Operation::WriteMemory,
            Self::AddDevice(_) => Operation::AddDevice,
            Self::StartDirtyLog => Operation::StartDirtyLog,
            Self::StopDirtyLog => Operation::StopDirtyLog,
            Self::TakeDirtyPages => Operation::TakeDirtyPages,
            Self::DirtyTotals => Operation::DirtyTotals,
        }
    }
}

/// Ports or addresses of a device whose accesses the caller answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceClaim {
    /// Its name in messages.
    pub name: String,
    /// I/O ports; guest physical memory otherwise.
    pub pio: bool,
    /// First port or address.
    pub base: u64,
    /// Ports or bytes.
    pub len: u64,
    /// A worker fetches the accesses; otherwise they are [`Event::DeviceAccess`](crate::Event::DeviceAccess).
    pub worker: bool,
}
