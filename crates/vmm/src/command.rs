//! Commands that a caller sends to a machine.

use crate::Operation;
use kvm_accel::VcpuState;
use kvm_accel::debug::Breakpoint;
use kvm_accel_machine::board::DeviceIrq;
use serde::{Deserialize, Serialize};

/// A command. The control thread executes commands in the order in which they were sent. Each gets one [`Reply`](crate::Reply) or
/// [`Failure`](crate::Failure).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// Starts the guest: `prelaunch` to `running`.
    Start,
    /// Resumes the guest.
    Resume,
    /// Kicks all vCPUs out of the guest, and waits until every device is quiescent. If the guest stops first for another reason, the
    /// command succeeds too, and the run state is the one for that reason.
    Pause,
    /// Resets the machine to its power-on state. A running machine continues to run; any other machine enters `prelaunch`.
    Reset,
    /// Executes one instruction on one vCPU. The reply is sent when the machine has stopped again.
    Step {
        /// Index of the vCPU.
        vcpu: u32,
    },
    /// Sends an NMI to every vCPU.
    InjectNmi,
    /// Makes a vCPU report its next interrupted `KVM_RUN` as a notify VM exit.
    InjectNotify {
        /// Index of the vCPU.
        vcpu: u32,
        /// Sets `KVM_NOTIFY_CONTEXT_INVALID` in the exit's flags.
        context_invalid: bool,
    },
    /// Reads a vCPU's register file.
    VcpuState {
        /// Index of the vCPU.
        vcpu: u32,
        /// True if [`Command::SetVcpuState`] follows. Errors then name that operation.
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
        /// The same vCPU as at the insertion.
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
    /// Writes guest memory. If an address is not writable, the bytes before it have been written already.
    WriteMemory {
        /// As for [`Command::ReadMemory`].
        vcpu: Option<u32>,
        /// Linear or physical address.
        address: u64,
        /// The bytes to write.
        bytes: Vec<u8>,
    },
    /// Adds a device that the caller implements.
    AddDevice(DeviceClaim),
    /// Reads guest memory for a device that the caller implements, in any run state.
    ReadDeviceMemory {
        /// Physical address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Writes guest memory for a device that the caller implements, in any run state.
    WriteDeviceMemory {
        /// Physical address.
        address: u64,
        /// The bytes to write.
        bytes: Vec<u8>,
    },
    /// Starts recording the pages that the guest writes.
    StartDirtyLog,
    /// Stops the recording, and discards the pages that were not taken.
    StopDirtyLog,
    /// Returns the recorded pages, and clears the record.
    TakeDirtyPages,
    /// Returns the number of pages that each vCPU has dirtied so far. The list is empty without dirty rings.
    DirtyTotals,
}

impl Command {
    /// Returns the operation whose allowed run states apply to this command.
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
            Self::ReadDeviceMemory { .. } => Operation::ReadDeviceMemory,
            Self::WriteDeviceMemory { .. } => Operation::WriteDeviceMemory,
            Self::StartDirtyLog => Operation::StartDirtyLog,
            Self::StopDirtyLog => Operation::StopDirtyLog,
            Self::TakeDirtyPages => Operation::TakeDirtyPages,
            Self::DirtyTotals => Operation::DirtyTotals,
        }
    }
}

/// A device that the caller implements, and the ports or addresses that it claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceClaim {
    /// The name of the device, for messages.
    pub name: String,
    /// True for I/O ports, false for guest physical memory.
    pub pio: bool,
    /// First port or address.
    pub base: u64,
    /// Number of ports, or of bytes.
    pub len: u64,
    /// The interrupt line, if the device has one.
    pub irq: Option<DeviceIrq>,
    /// True if a worker thread of JavaScript fetches the accesses. Otherwise each access is emitted as
    /// [`Event::DeviceAccess`](crate::Event::DeviceAccess).
    pub worker: bool,
}
