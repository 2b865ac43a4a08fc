//! Reading and writing a vCPU's whole state, in QEMU's order.

mod events;
mod features;
mod msrs;
mod nested;
mod registers;
mod xsave;

pub use features::StateFeatures;
pub(super) use registers::registers_of;

use super::Vcpu;
use crate::Result;
use crate::state::{DebugRegisters, Level, StartState, Step, VcpuState};
use kvm_bindings::{kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_xcr, kvm_xcrs};

/// Offset of the local APIC's id register, which holds the id in bits 31:24.
const APIC_ID: usize = 0x20;

impl Vcpu {
    /// Restores the power-on state, then applies the boot protocol's start state to this vCPU, if there is one.
    pub fn reset(&self, power_on: &VcpuState, start: Option<&StartState>) -> Result<()> {
        self.put_state(power_on, Level::Reset)?;
        start.map_or(Ok(()), |start| self.set_start_state(start))
    }

    /// Reads the whole state. Reads the MP state before the registers, because reading it may change them.
    pub fn state(&self) -> Result<VcpuState> {
        let events = self.fd.get_vcpu_events().map_err(self.failed("KVM_GET_VCPU_EVENTS"))?;
        let mp_state = self.fd.get_mp_state().map_err(self.failed("KVM_GET_MP_STATE"))?;
        let regs = self.fd.get_regs().map_err(self.failed("KVM_GET_REGS"))?;
        let xsave = self.xsave()?;
        let xcr0 = self.xcr0()?;
        let registers = registers::with_general(self.special_registers()?, &regs);
        let msrs = self.msrs(self.features.msrs)?;
        let lapic = self.lapic()?;
        let debug = self.fd.get_debug_regs().map_err(self.failed("KVM_GET_DEBUGREGS"))?;
        Ok(VcpuState {
            registers,
            xsave,
            xcr0,
            msrs,
            events: events::from_kernel(&events),
            debug: DebugRegisters { addresses: debug.db, dr6: debug.dr6, dr7: debug.dr7 },
            mp_state: mp_state.mp_state.into(),
            lapic,
            nested: self.nested()?,
            // A host whose TSC is unreliable reports no frequency.
            tsc_khz: self.features.tsc_khz.then(|| self.tsc_khz().ok()).flatten(),
        })
    }

    /// Writes the parts that the level includes. Stops at the first call that fails and returns its error.
    pub fn put_state(&self, state: &VcpuState, level: Level) -> Result<()> {
        level.steps().try_for_each(|step| self.put(step, state, level))
    }

    fn put(&self, step: Step, state: &VcpuState, level: Level) -> Result<()> {
        match step {
            Step::FeatureControl => self.put_msrs(&msrs::feature_control(&state.msrs)),
            Step::SpecialRegisters => self.set_special_registers(&state.registers),
            Step::Nested => state.nested.as_ref().map_or(Ok(()), |nested| self.set_nested(nested)),
            Step::TscKhz => {
                // Kernels that cannot scale the TSC reject every call, also one that changes nothing.
                let _ = state.tsc_khz.map(|khz| self.set_tsc_khz(khz));
                Ok(())
            }
            Step::Registers => {
                self.fd.set_regs(&registers::general(&state.registers)).map_err(self.failed("KVM_SET_REGS"))
            }
            Step::Xsave => self.set_xsave(&state.xsave),
            Step::Xcrs => state.xcr0.map_or(Ok(()), |xcr0| self.set_xcr0(xcr0)),
            Step::Msrs => self.put_msrs(&msrs::of_level(&state.msrs, level)),
            Step::Events => {
                let events = events::to_kernel(&state.events, level, state.mp_state, &self.features);
                self.fd.set_vcpu_events(&events).map_err(self.failed("KVM_SET_VCPU_EVENTS"))
            }
            Step::MpState => {
                let mp_state = kvm_mp_state { mp_state: state.mp_state.into() };
                self.fd.set_mp_state(mp_state).map_err(self.failed("KVM_SET_MP_STATE"))
            }
            Step::Lapic => state.lapic.as_ref().map_or(Ok(()), |lapic| self.set_lapic(lapic)),
            Step::TscDeadline => self.put_msrs(&msrs::tsc_deadline(&state.msrs)),
            Step::DebugRegisters => {
                let DebugRegisters { addresses: db, dr6, dr7 } = state.debug;
                let debug = kvm_debugregs { db, dr6, dr7, ..Default::default() };
                self.fd.set_debug_regs(&debug).map_err(self.failed("KVM_SET_DEBUGREGS"))
            }
        }
    }

    fn xcr0(&self) -> Result<Option<u64>> {
        if !self.features.xcrs {
            return Ok(None);
        }
        let xcrs = self.fd.get_xcrs().map_err(self.failed("KVM_GET_XCRS"))?;
        let count = usize::try_from(xcrs.nr_xcrs).unwrap_or(0);
        Ok(xcrs.xcrs.iter().take(count).find(|xcr| xcr.xcr == 0).map(|xcr| xcr.value))
    }

    fn set_xcr0(&self, value: u64) -> Result<()> {
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0] = kvm_xcr { xcr: 0, value, ..Default::default() };
        self.fd.set_xcrs(&xcrs).map_err(self.failed("KVM_SET_XCRS"))
    }

    fn lapic(&self) -> Result<Option<Vec<u8>>> {
        if !self.features.lapic {
            return Ok(None);
        }
        let lapic = self.fd.get_lapic().map_err(self.failed("KVM_GET_LAPIC"))?;
        Ok(Some(lapic.regs.iter().map(|byte| byte.cast_unsigned()).collect()))
    }

    /// Writes the local APIC with this vCPU's id, whichever vCPU the bytes were read from.
    fn set_lapic(&self, bytes: &[u8]) -> Result<()> {
        let mut lapic = kvm_lapic_state::default();
        for (register, byte) in lapic.regs.iter_mut().zip(bytes) {
            *register = byte.cast_signed();
        }
        if let Some(byte) = lapic.regs.get_mut(APIC_ID + 3) {
            *byte = u8::try_from(self.apic_id).unwrap_or(u8::MAX).cast_signed();
        }
        self.fd.set_lapic(&lapic).map_err(self.failed("KVM_SET_LAPIC"))
    }
}
