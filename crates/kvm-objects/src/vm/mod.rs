//! A virtual machine.

mod dirty_log;
mod msr_filter;

pub use msr_filter::MsrRange;

use crate::calls::VM;
use crate::device::Device;
use crate::errno::{Result, refuse};
use crate::ioctl::{self, answer, owned};
use crate::memory;
use crate::shared_bytes::SharedBytes;
use crate::slots::Slots;
use crate::vcpu::Vcpu;
use kvm_bindings::{kvm_create_device, kvm_userspace_memory_region};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

const KVM_CREATE_VCPU: libc::Ioctl = 0xae41;
const KVM_SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_ae46;
const KVM_CREATE_DEVICE: libc::Ioctl = 0xc00c_aee0;
const KVM_CREATE_DEVICE_TEST: u32 = 1;

/// A VM. Its vCPUs stay usable after it is dropped, as in the kernel.
#[derive(Debug)]
pub struct Vm {
    pub(super) fd: OwnedFd,
    run_size: usize,
    /// Declared after `fd`, and so dropped later: the kernel releases the memory before it may be unmapped.
    pub(super) slots: Arc<Slots>,
}

impl Vm {
    pub(super) fn new(fd: OwnedFd, run_size: usize) -> Self {
        Self { fd, run_size, slots: Arc::default() }
    }

    /// Calls an ioctl that takes a number.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table; otherwise the error of the ioctl.
    pub fn with_value(&self, request: u32, value: u64) -> Result<u32> {
        ioctl::with_value(&self.fd, VM, request, value)
    }

    /// Calls an ioctl that takes a structure.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table, EFAULT or E2BIG if `bytes` do not match its argument; otherwise the
    /// error of the ioctl.
    pub fn with_bytes<'a>(&self, request: u32, bytes: impl Into<SharedBytes<'a>>) -> Result<u32> {
        ioctl::with_bytes(&self.fd, VM, request, bytes.into())
    }

    /// Calls KVM_CREATE_VCPU. The vCPU belongs to the calling thread.
    ///
    /// # Errors
    /// The error of the ioctl, or that of starting the thread that watches vCPUs.
    pub fn create_vcpu(&self, id: u32) -> Result<Vcpu> {
        // SAFETY: the ioctl takes a number.
        let fd = answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_CREATE_VCPU, libc::c_ulong::from(id)) })?;
        Vcpu::new(owned(fd)?, self.run_size, &self.slots)
    }

    /// Calls KVM_SET_USER_MEMORY_REGION with `bytes` of guest memory (see [`memory`]), or with none to delete the slot.
    ///
    /// # Errors
    /// EFAULT when `bytes` are not guest memory; otherwise the error of the ioctl.
    pub fn set_user_memory_region(
        &self,
        slot: u32,
        flags: u32,
        guest_phys_addr: u64,
        bytes: SharedBytes<'_>,
    ) -> Result<()> {
        let size = bytes.len() as u64;
        let memory = match bytes.is_empty() {
            true => None,
            false => Some(memory::containing(bytes.address(), bytes.len()).ok_or(refuse(libc::EFAULT))?),
        };
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr,
            memory_size: size,
            userspace_addr: if memory.is_some() { bytes.address() as u64 } else { 0 },
        };
        // SAFETY: the kernel reads the structure during the call. What it points to is guest memory, which `slots` keeps mapped from
        // here on for as long as a guest of this VM can run.
        answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_SET_USER_MEMORY_REGION, &raw const region) })?;
        match memory {
            Some(memory) => self.slots.set(slot, memory, size),
            None => self.slots.remove(slot),
        }
        Ok(())
    }

    /// Calls KVM_CREATE_DEVICE.
    ///
    /// # Errors
    /// The error of the ioctl: ENODEV for an unknown type.
    pub fn create_device(&self, kind: u32) -> Result<Device> {
        Ok(Device::new(owned(self.device_call(kind, 0)?)?))
    }

    /// Calls KVM_CREATE_DEVICE with KVM_CREATE_DEVICE_TEST: checks whether the kernel has the type, without creating a
    /// device.
    ///
    /// # Errors
    /// The error of the ioctl: ENODEV for an unknown type.
    pub fn test_device(&self, kind: u32) -> Result<()> {
        self.device_call(kind, KVM_CREATE_DEVICE_TEST).map(drop)
    }

    fn device_call(&self, kind: u32, flags: u32) -> Result<u32> {
        let mut device = kvm_create_device { type_: kind, fd: 0, flags };
        // SAFETY: the kernel reads and writes the structure during the call.
        answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_CREATE_DEVICE, &raw mut device) })?;
        Ok(device.fd)
    }
}
