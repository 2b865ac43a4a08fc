//! Breakpoints, steps and guest memory, of a machine that does not run.

use crate::error::BindingError;
use crate::machine::BindingMachine;
use kvm_accel::debug::{Breakpoint, BreakpointKind, BreakpointProblem};
use kvm_accel::{Error, Result, Vcpus};
use napi::bindgen_prelude::{BigInt, Either, Uint8Array};
use napi_derive::napi;

/// A breakpoint or watchpoint.
#[napi(object, object_to_js = false)]
pub struct BindingBreakpoint {
    /// `software`, `hardware`, `write` or `access`.
    pub kind: String,
    /// Linear address.
    pub address: BigInt,
    /// Bytes that a watchpoint covers.
    pub length: u32,
    /// Whose page tables the address of a software breakpoint is looked up in.
    pub vcpu: u32,
}

impl BindingBreakpoint {
    fn parse(&self) -> Result<Breakpoint> {
        let address = self.address.get_u64().1;
        let kind = BreakpointKind::parse(&self.kind).ok_or_else(|| Error::Breakpoint {
            what: format!("{} breakpoint at {address:#x}", self.kind),
            problem: BreakpointProblem::Unsupported,
        })?;
        Ok(Breakpoint { kind, address, length: self.length.into() })
    }
}

#[napi]
impl BindingMachine {
    /// This kernel lets guests be debugged.
    #[napi]
    pub fn debug_supported(&self) -> bool {
        self.handle.with_board(|board| board.vcpus().supports_guest_debug()).unwrap_or(false)
    }

    /// Adds a breakpoint for all vCPUs.
    #[napi]
    pub fn insert_breakpoint(&self, breakpoint: BindingBreakpoint) -> Option<BindingError> {
        self.debug(|vcpus| vcpus.insert_breakpoint(breakpoint.vcpu, breakpoint.parse()?))
    }

    /// Removes it.
    #[napi]
    pub fn remove_breakpoint(&self, breakpoint: BindingBreakpoint) -> Option<BindingError> {
        self.debug(|vcpus| vcpus.remove_breakpoint(breakpoint.vcpu, breakpoint.parse()?))
    }

    /// Removes all.
    #[napi]
    pub fn clear_breakpoints(&self) -> Option<BindingError> {
        self.debug(Vcpus::clear_breakpoints)
    }

    /// Has one vCPU execute one instruction; an event tells when the machine has stopped again.
    #[napi]
    pub fn step(&self, vcpu: u32) -> Option<BindingError> {
        self.debug(|vcpus| vcpus.step(vcpu))
    }

    /// Guest memory at a linear address of a vCPU, or at a physical one without a vCPU.
    #[napi]
    pub fn read_memory(
        &self,
        vcpu: Option<u32>,
        address: BigInt,
        length: u32,
    ) -> Option<Either<Uint8Array, BindingError>> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.handle.with_board(|board| match board.vcpus().read_memory(vcpu, address.get_u64().1, length) {
            Ok(bytes) => Either::A(bytes.into()),
            Err(error) => Either::B(error.into()),
        })
    }

    /// Writes it.
    #[napi]
    pub fn write_memory(&self, vcpu: Option<u32>, address: BigInt, bytes: Uint8Array) -> Option<BindingError> {
        self.debug(|vcpus| vcpus.write_memory(vcpu, address.get_u64().1, bytes.to_vec()))
    }

    fn debug(&self, call: impl FnOnce(&Vcpus) -> Result<()>) -> Option<BindingError> {
        self.handle.with_board(|board| call(board.vcpus())).and_then(Result::err).map(Into::into)
    }
}
