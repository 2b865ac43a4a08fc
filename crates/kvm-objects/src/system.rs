//! The system fd: `/dev/kvm`.

use crate::calls::SYSTEM;
use crate::errno::Result;
use crate::ioctl::{self, owned};
use crate::shared_bytes::SharedBytes;
use crate::vm::Vm;
use kvm_accel_kvm::fd::System;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

const KVM_CREATE_VM: libc::Ioctl = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE: u32 = 0xae04;

/// An open KVM device.
#[derive(Debug)]
pub struct Kvm(OwnedFd);

impl Kvm {
    /// Opens the device and checks the API version.
    ///
    /// # Errors
    /// Opening the device fails, it is not a KVM device, or it implements another API version.
    pub fn open(device: &Path) -> std::result::Result<Self, kvm_accel_kvm::Error> {
        let system = System::open(device)?;
        system.duplicate_fd().map(Self).map_err(|error| kvm_accel_kvm::Error::Open {
            device: device.to_owned(),
            errno: error.raw_os_error().unwrap_or(libc::EMFILE),
        })
    }

    /// Calls an ioctl that takes a number.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table; otherwise the error of the ioctl.
    pub fn with_value(&self, request: u32, value: u64) -> Result<u32> {
        ioctl::with_value(&self.0, SYSTEM, request, value)
    }

    /// Calls an ioctl that takes a structure.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table, EFAULT or E2BIG if `bytes` do not match its argument; otherwise the
    /// error of the ioctl.
    pub fn with_bytes<'a>(&self, request: u32, bytes: impl Into<SharedBytes<'a>>) -> Result<u32> {
        ioctl::with_bytes(&self.0, SYSTEM, request, bytes.into())
    }

    /// Calls KVM_CREATE_VM. Retries on EINTR, because a signal during the call is not a failure.
    ///
    /// # Errors
    /// The error of the ioctl.
    pub fn create_vm(&self, kind: u32) -> Result<Vm> {
        let run_size = self.with_value(KVM_GET_VCPU_MMAP_SIZE, 0)?;
        loop {
            // SAFETY: the ioctl takes a number.
            match ioctl::answer(unsafe { libc::ioctl(self.0.as_raw_fd(), KVM_CREATE_VM, libc::c_ulong::from(kind)) }) {
                Ok(fd) => return Ok(Vm::new(owned(fd)?, run_size as usize)),
                Err(error) if error.errno() == libc::EINTR => {}
                Err(error) => return Err(error),
            }
        }
    }
}
