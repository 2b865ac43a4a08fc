//! KVM_GET_STATS_FD, which kvm-ioctls lacks, for VM and vCPU fds.

use super::failed;
use super::vcpu::Vcpu;
use super::vm::Vm;
use crate::Result;
use crate::stats::{StatsReader, Target};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;
use vmm_sys_util::errno;

const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;

fn stats_file(fd: &impl AsRawFd) -> std::result::Result<File, errno::Error> {
    // SAFETY: the ioctl has no argument and touches no memory of ours.
    let file = unsafe { vmm_sys_util::ioctl::ioctl(fd, KVM_GET_STATS_FD) };
    if file < 0 {
        return Err(errno::Error::last());
    }
    // SAFETY: the kernel has just made this fd for us (close-on-exec), and nobody else knows it.
    Ok(unsafe { File::from_raw_fd(file) })
}

impl Vm {
    /// A function that opens the VM's statistics. It keeps the VM alive in the kernel, and so does the file until it is closed.
    pub fn stats_opener(&self) -> impl Fn() -> Result<StatsReader> + Send + 'static {
        let fd = Arc::clone(&self.fd);
        move || {
            let file = stats_file(&*fd).map_err(failed("KVM_GET_STATS_FD", "the VM"))?;
            Ok(StatsReader::new(file, Target::Vm))
        }
    }
}

impl Vcpu {
    /// The vCPU's statistics. Before it runs: the kernel answers no ioctl but KVM_RUN's while the vCPU is in the guest.
    pub fn stats(&self) -> Result<StatsReader> {
        let file = stats_file(&self.fd).map_err(self.failed("KVM_GET_STATS_FD"))?;
        Ok(StatsReader::new(file, Target::Vcpu))
    }
}
