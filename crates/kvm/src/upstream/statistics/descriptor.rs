//! KVM_GET_STATS_FD.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use vmm_sys_util::errno;

const KVM_GET_STATS_FD: libc::c_ulong = 0xaece;

/// Opens the statistics file of a VM or vCPU fd. The file keeps the VM alive in the kernel until it is closed.
///
/// # Errors
/// The error of the ioctl.
pub fn stats_file(fd: &impl AsRawFd) -> Result<File, errno::Error> {
    // SAFETY: the ioctl has no argument and touches no memory of ours.
    let file = unsafe { vmm_sys_util::ioctl::ioctl(fd, KVM_GET_STATS_FD) };
    if file < 0 {
        return Err(errno::Error::last());
    }
    // SAFETY: the kernel has just created this fd (close-on-exec), and no other code has its number.
    Ok(unsafe { File::from_raw_fd(file) })
}
