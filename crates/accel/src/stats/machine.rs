//! The statistics of a whole machine: the VM's file and one for each vCPU.

use crate::Result;
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::upstream::statistics::{Readings, StatsReader};

/// Reads the kernel's statistics of a VM and its vCPUs, on any thread, also while the guest runs.
///
/// The open files keep the VM alive in the kernel: drop this before the machine ends.
pub struct MachineStatistics {
    /// Opens the VM's file.
    open: Box<dyn Fn() -> Result<StatsReader> + Send>,
    /// `None` until the first [`MachineStatistics::read`].
    vm: Option<StatsReader>,
    /// The vCPUs' files, or the error of opening them. Opened before the vCPUs run, because every other vCPU ioctl
    /// waits while the vCPU is in the guest.
    vcpus: Vec<Result<StatsReader>>,
}

impl MachineStatistics {
    pub(crate) fn new(
        open: impl Fn() -> Result<StatsReader> + Send + 'static,
        vcpus: Vec<Result<StatsReader>>,
    ) -> Self {
        Self { open: Box::new(open), vm: None, vcpus }
    }

    /// Calls `each` with the current statistics of the VM, then with those of each vCPU in turn.
    ///
    /// # Errors
    /// [`Error::StatsUnsupported`](crate::Error::StatsUnsupported), or [`Error::Kvm`](crate::Error::Kvm).
    pub fn read(&mut self, mut each: impl FnMut(Readings<'_>)) -> Result<()> {
        let vm = match self.vm.take() {
            Some(reader) => reader,
            None => (self.open)()?,
        };
        each(self.vm.insert(vm).read().map_err(KvmError::from)?);
        for vcpu in &mut self.vcpus {
            match vcpu {
                Ok(reader) => each(reader.read().map_err(KvmError::from)?),
                Err(error) => return Err(error.clone()),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for MachineStatistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineStatistics").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}
