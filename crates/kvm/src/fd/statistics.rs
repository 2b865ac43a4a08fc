//! The statistics files of a VM and of its vCPUs.

use super::vcpu::Vcpu;
use super::vm::Vm;
use crate::Result;
use crate::error::failed;
use crate::upstream::statistics::{StatsReader, Target, stats_file};
use std::sync::Arc;

impl Vm {
    /// Returns a function that opens the VM's statistics. The function keeps the VM alive in the kernel, and so does
    /// the file until it is closed.
    pub fn stats_opener(&self) -> impl Fn() -> Result<StatsReader> + Send + 'static {
        let fd = Arc::clone(&self.fd);
        move || {
            let file = stats_file(&*fd).map_err(failed("KVM_GET_STATS_FD", "the VM"))?;
            Ok(StatsReader::new(file, Target::Vm))
        }
    }
}

impl Vcpu {
    /// Opens the vCPU's statistics. Call it before the vCPU runs: while the vCPU is in the guest, every ioctl other
    /// than KVM_RUN waits.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn stats(&self) -> Result<StatsReader> {
        let file = stats_file(&self.fd).map_err(self.failed("KVM_GET_STATS_FD"))?;
        Ok(StatsReader::new(file, Target::Vcpu))
    }
}
