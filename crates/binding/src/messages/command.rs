//! Commands from TypeScript.

use super::vcpu_state::BindingVcpuState;
use kvm_accel::Error;
use kvm_accel::debug::{Breakpoint, BreakpointKind, BreakpointProblem};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{BoardError, DeviceIrq};
use kvm_accel_vmm::{Command, DeviceClaim};
use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;

/// A command of a machine; the reply carries the id that `send()` returned.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_to_js = false)]
#[allow(clippy::large_enum_variant, reason = "napi does not convert boxed values, and few commands exist at a time")]
pub enum BindingCommand {
    Start,
    Resume,
    Pause,
    Reset,
    Step {
        vcpu: u32,
    },
    InjectNmi,
    InjectNotify {
        vcpu: u32,
        context_invalid: bool,
    },
    VcpuState {
        vcpu: u32,
        /// True if `set-vcpu-state` follows. An error then names that operation.
        to_change: bool,
    },
    SetVcpuState {
        vcpu: u32,
        state: BindingVcpuState,
    },
    InsertBreakpoint {
        vcpu: u32,
        breakpoint: BindingBreakpoint,
    },
    RemoveBreakpoint {
        vcpu: u32,
        breakpoint: BindingBreakpoint,
    },
    ClearBreakpoints,
    /// `address` is a linear address of the given vCPU, or a physical address if no vCPU is given.
    ReadMemory {
        vcpu: Option<u32>,
        address: BigInt,
        length: u32,
    },
    WriteMemory {
        vcpu: Option<u32>,
        address: BigInt,
        bytes: Uint8Array,
    },
    AddDevice {
        name: String,
        /// True for I/O ports, false for memory-mapped I/O.
        pio: bool,
        base: BigInt,
        len: BigInt,
        irq: Option<BindingDeviceIrq>,
        /// True if a worker waits for the accesses. Otherwise each access is an event.
        worker: bool,
    },
    /// At a physical address, in any run state.
    ReadDeviceMemory {
        address: BigInt,
        length: u32,
    },
    WriteDeviceMemory {
        address: BigInt,
        bytes: Uint8Array,
    },
    StartDirtyLog,
    StopDirtyLog,
    TakeDirtyPages,
    DirtyTotals,
}

/// The interrupt line of a device.
#[napi(object, object_to_js = false)]
pub struct BindingDeviceIrq {
    pub line: u8,
    /// The line keeps its level; otherwise it has edges.
    pub level: bool,
}

/// A breakpoint or watchpoint.
#[napi(object, object_to_js = false)]
pub struct BindingBreakpoint {
    /// `software`, `hardware`, `write` or `access`.
    pub kind: String,
    /// Linear address.
    pub address: BigInt,
    /// Number of bytes that a watchpoint covers.
    pub length: u32,
}

impl BindingBreakpoint {
    fn parse(&self) -> Result<Breakpoint, Error> {
        let address = self.address.get_u64().1;
        let kind = BreakpointKind::parse(&self.kind).ok_or_else(|| Error::Breakpoint {
            what: format!("{} breakpoint at {address:#x}", self.kind),
            problem: BreakpointProblem::Unsupported,
        })?;
        Ok(Breakpoint { kind, address, length: self.length.into() })
    }
}

impl BindingCommand {
    /// Converts to a command of crates/vmm. Copies its bytes.
    pub fn parse(self) -> Result<Command, BoardError> {
        Ok(match self {
            Self::Start => Command::Start,
            Self::Resume => Command::Resume,
            Self::Pause => Command::Pause,
            Self::Reset => Command::Reset,
            Self::Step { vcpu } => Command::Step { vcpu },
            Self::InjectNmi => Command::InjectNmi,
            Self::InjectNotify { vcpu, context_invalid } => Command::InjectNotify { vcpu, context_invalid },
            Self::VcpuState { vcpu, to_change } => Command::VcpuState { vcpu, to_change },
            Self::SetVcpuState { vcpu, state } => Command::SetVcpuState { vcpu, state: Box::new(state.into()) },
            Self::InsertBreakpoint { vcpu, breakpoint } => {
                Command::InsertBreakpoint { vcpu, breakpoint: breakpoint.parse()? }
            }
            Self::RemoveBreakpoint { vcpu, breakpoint } => {
                Command::RemoveBreakpoint { vcpu, breakpoint: breakpoint.parse()? }
            }
            Self::ClearBreakpoints => Command::ClearBreakpoints,
            Self::ReadMemory { vcpu, address, length } => {
                Command::ReadMemory { vcpu, address: address.get_u64().1, length: length.into() }
            }
            Self::WriteMemory { vcpu, address, bytes } => {
                Command::WriteMemory { vcpu, address: address.get_u64().1, bytes: bytes.to_vec() }
            }
            Self::AddDevice { name, pio, base, len, irq, worker } => {
                let (negative, base, exact) = base.get_u64();
                let (_, len, len_exact) = len.get_u64();
                if negative || !exact || !len_exact || len > 1 << 53 {
                    let message = format!("{name}, is at an address or of a length that exceeds 64 bits");
                    return Err(MachineConfigError::new(
                        "device",
                        message,
                        "Choose a base from 0 to 2^64 - 1 and a length of at most 2^53 bytes.",
                    )
                    .into());
                }
                let irq = irq.map(|BindingDeviceIrq { line, level }| DeviceIrq { line, level });
                Command::AddDevice(DeviceClaim { name, pio, base, len, irq, worker })
            }
            Self::ReadDeviceMemory { address, length } => {
                Command::ReadDeviceMemory { address: address.get_u64().1, length: length.into() }
            }
            Self::WriteDeviceMemory { address, bytes } => {
                Command::WriteDeviceMemory { address: address.get_u64().1, bytes: bytes.to_vec() }
            }
            Self::StartDirtyLog => Command::StartDirtyLog,
            Self::StopDirtyLog => Command::StopDirtyLog,
            Self::TakeDirtyPages => Command::TakeDirtyPages,
            Self::DirtyTotals => Command::DirtyTotals,
        })
    }
}
