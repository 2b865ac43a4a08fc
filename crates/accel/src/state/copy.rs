//! A copy of the registers that is newer than the kernel's.

use kvm_accel_kvm::Result;
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::state::{Level, VcpuState};

/// A vCPU's registers in user space while a change is pending for the next entry. The existence of the copy corresponds
/// to QEMU's dirty flag.
#[derive(Debug, Default)]
pub struct StateCopy(Option<Box<VcpuState>>);

impl StateCopy {
    /// Returns the registers, including pending changes.
    pub fn get(&self, vcpu: &Vcpu) -> Result<VcpuState> {
        self.0.as_deref().map_or_else(|| vcpu.state(), |copy| Ok(copy.clone()))
    }

    /// At [`Level::Runtime`], stores a change for the next entry. At a higher level, writes it at once.
    pub fn set(&mut self, vcpu: &Vcpu, state: VcpuState, level: Level) -> Result<()> {
        if level == Level::Runtime {
            self.0 = Some(Box::new(state));
            return Ok(());
        }
        self.0 = None;
        vcpu.put_state(&state, level)
    }

    /// Writes the pending change. Discards a change that the kernel rejects; the machine stops then.
    pub fn flush(&mut self, vcpu: &Vcpu) -> Result<()> {
        self.0.take().map_or(Ok(()), |copy| vcpu.put_state(&copy, Level::Runtime))
    }
}
