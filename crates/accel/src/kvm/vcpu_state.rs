//! Everything a reset has to put back.
//!
//! A vCPU's state at power-on is the same in every machine of a process but for its APIC id, and reading it costs more than
//! making the vCPU: it is read once from a boot processor and once from another.

use super::vcpu::Vcpu;
use crate::Result;
use crate::start_state::StartState;
use kvm_bindings::{
    Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};
use std::sync::OnceLock;

/// Where the local APIC's registers hold its id, in bits 31:24.
const APIC_ID: usize = 0x20;

/// A vCPU's register state.
#[derive(Debug)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
    lapic: kvm_lapic_state,
    debugregs: kvm_debugregs,
}

impl Vcpu {
    /// The state of a vCPU that has not run yet. To be called before any register is set.
    pub fn power_on_state(&self, msr_indices: &[u32]) -> Result<&'static VcpuState> {
        static BOOT_PROCESSOR: OnceLock<VcpuState> = OnceLock::new();
        static OTHERS: OnceLock<VcpuState> = OnceLock::new();
        let known = if self.id == 0 { &BOOT_PROCESSOR } else { &OTHERS };
        if let Some(state) = known.get() {
            return Ok(state);
        }
        let state = self.state(msr_indices)?;
        Ok(known.get_or_init(|| state))
    }

    /// Back to power-on, and to where the boot protocol starts this vCPU, if it does.
    pub fn reset(&self, power_on: &VcpuState, start: Option<&StartState>) -> Result<()> {
        self.set_state(power_on)?;
        start.map_or(Ok(()), |start| self.set_start_state(start))
    }

    /// Reads the state, in QEMU's order: MP state before the registers, because reading it may alter them.
    fn state(&self, msr_indices: &[u32]) -> Result<VcpuState> {
        let events = self.fd.get_vcpu_events().map_err(self.failed("KVM_GET_VCPU_EVENTS"))?;
        let mp_state = self.fd.get_mp_state().map_err(self.failed("KVM_GET_MP_STATE"))?;
        Ok(VcpuState {
            regs: self.fd.get_regs().map_err(self.failed("KVM_GET_REGS"))?,
            xsave: self.fd.get_xsave().map_err(self.failed("KVM_GET_XSAVE"))?,
            xcrs: self.fd.get_xcrs().map_err(self.failed("KVM_GET_XCRS"))?,
            sregs: self.fd.get_sregs().map_err(self.failed("KVM_GET_SREGS"))?,
            msrs: self.msrs(msr_indices)?,
            lapic: self.fd.get_lapic().map_err(self.failed("KVM_GET_LAPIC"))?,
            debugregs: self.fd.get_debug_regs().map_err(self.failed("KVM_GET_DEBUGREGS"))?,
            events,
            mp_state,
        })
    }

    /// Writes it, in QEMU's order: the local APIC after sregs, which hold its base; events after the registers.
    fn set_state(&self, state: &VcpuState) -> Result<()> {
        self.fd.set_sregs(&state.sregs).map_err(self.failed("KVM_SET_SREGS"))?;
        self.fd.set_regs(&state.regs).map_err(self.failed("KVM_SET_REGS"))?;
        // SAFETY: the buffer came from KVM_GET_XSAVE of this vCPU, which enables no state that needs more than 4096 bytes.
        unsafe { self.fd.set_xsave(&state.xsave) }.map_err(self.failed("KVM_SET_XSAVE"))?;
        self.fd.set_xcrs(&state.xcrs).map_err(self.failed("KVM_SET_XCRS"))?;
        self.set_msrs(&state.msrs)?;
        self.fd.set_vcpu_events(&state.events).map_err(self.failed("KVM_SET_VCPU_EVENTS"))?;
        self.fd.set_mp_state(state.mp_state).map_err(self.failed("KVM_SET_MP_STATE"))?;
        self.fd.set_lapic(&self.with_own_id(state.lapic)).map_err(self.failed("KVM_SET_LAPIC"))?;
        self.fd.set_debug_regs(&state.debugregs).map_err(self.failed("KVM_SET_DEBUGREGS"))
    }

    /// A local APIC with this vCPU's id, whichever vCPU it was read from.
    fn with_own_id(&self, mut lapic: kvm_lapic_state) -> kvm_lapic_state {
        if let Some(byte) = lapic.regs.get_mut(APIC_ID + 3) {
            *byte = u8::try_from(self.id).unwrap_or(u8::MAX).cast_signed();
        }
        lapic
    }

    /// Reads the MSRs the kernel lists. One that cannot be read on this vCPU is left out; the kernel stops there, so
    /// the rest is asked again from the next on.
    fn msrs(&self, indices: &[u32]) -> Result<Vec<kvm_msr_entry>> {
        let mut read = Vec::with_capacity(indices.len());
        let mut rest = indices;
        while !rest.is_empty() {
            let entries: Vec<_> = rest.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
            let Ok(mut msrs) = Msrs::from_entries(&entries) else { break };
            let count = self.fd.get_msrs(&mut msrs).map_err(self.failed("KVM_GET_MSRS"))?;
            read.extend(msrs.as_slice().iter().take(count).copied());
            rest = rest.get(count + 1..).unwrap_or_default();
        }
        Ok(read)
    }

    /// Writes them; one that this kernel lets nobody write keeps its value.
    fn set_msrs(&self, entries: &[kvm_msr_entry]) -> Result<()> {
        let mut rest = entries;
        while !rest.is_empty() {
            let Ok(msrs) = Msrs::from_entries(rest) else { break };
            let count = self.fd.set_msrs(&msrs).map_err(self.failed("KVM_SET_MSRS"))?;
            rest = rest.get(count + 1..).unwrap_or_default();
        }
        Ok(())
    }
}
