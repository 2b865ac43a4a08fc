//! The VM fd's ioctls for accesses that stay in the kernel.

use super::ioeventfd::Ioeventfd;
use crate::Result;
use crate::error::failed;
use crate::run::IoAddress;
use crate::trace::trace;
use crate::upstream;
use kvm_bindings::{
    kvm_ioeventfd, kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign, kvm_ioeventfd_flag_nr_pio,
};
use kvm_ioctls::{IoEventAddress, VmFd};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};
use vmm_sys_util::errno;

/// A handle on a VM for its I/O. It does not keep the VM alive: after the VM's end, calls fail with EBADF.
#[derive(Clone, Debug)]
pub struct IoCalls(Weak<VmFd>);

impl IoCalls {
    pub(super) fn new(fd: &Arc<VmFd>) -> Self {
        Self(Arc::downgrade(fd))
    }

    fn vm(&self) -> std::result::Result<Arc<VmFd>, errno::Error> {
        self.0.upgrade().ok_or(errno::Error::new(libc::EBADF))
    }

    /// Calls KVM_IOEVENTFD.
    pub fn ioeventfd(&self, ioeventfd: &Ioeventfd, assign: bool) -> Result<()> {
        let argument = argument(ioeventfd, assign);
        let (fd, size) = (argument.fd, argument.len);
        let (val, datamatch) = (argument.datamatch, ioeventfd.written.value().is_some());
        match ioeventfd.address {
            IoAddress::Pio(addr) => trace!(KvmSetIoeventfdPio { fd, addr, val, assign, size, datamatch }),
            IoAddress::Mmio(addr) => trace!(KvmSetIoeventfdMmio { fd, addr, val, assign, size, datamatch }),
        }
        self.vm()
            .and_then(|vm| upstream::vm::ioeventfd(&vm, &argument))
            .map_err(failed("KVM_IOEVENTFD", format!("{ioeventfd}{}", if assign { "" } else { ", deassign" })))
    }

    /// Calls KVM_REGISTER_COALESCED_MMIO or KVM_UNREGISTER_COALESCED_MMIO.
    pub fn coalesce(&self, start: IoAddress, len: u32, register: bool) -> Result<()> {
        let address = match start {
            IoAddress::Pio(port) => IoEventAddress::Pio(port.into()),
            IoAddress::Mmio(address) => IoEventAddress::Mmio(address),
        };
        let context = format!("{start}, size {len:#x}");
        let vm = self.vm();
        if register {
            let result = vm.and_then(|vm| vm.register_coalesced_mmio(address, len));
            result.map_err(failed("KVM_REGISTER_COALESCED_MMIO", context))
        } else {
            let result = vm.and_then(|vm| vm.unregister_coalesced_mmio(address, len));
            result.map_err(failed("KVM_UNREGISTER_COALESCED_MMIO", context))
        }
    }
}

fn argument(Ioeventfd { address, written, event }: &Ioeventfd, assign: bool) -> kvm_ioeventfd {
    let (addr, pio) = match *address {
        IoAddress::Pio(port) => (port.into(), true),
        IoAddress::Mmio(address) => (address, false),
    };
    let flags = [
        (written.value().is_some(), kvm_ioeventfd_flag_nr_datamatch),
        (pio, kvm_ioeventfd_flag_nr_pio),
        (!assign, kvm_ioeventfd_flag_nr_deassign),
    ];
    kvm_ioeventfd {
        datamatch: written.value().unwrap_or(0),
        addr,
        len: written.size(),
        fd: event.as_raw_fd(),
        flags: flags.into_iter().filter(|(set, _)| *set).map(|(_, bit)| 1 << bit).sum(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ioeventfd::Written;
    use super::*;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    fn test_argument_has_size_value_and_flags() {
        let event = Arc::new(EventFd::new(0).unwrap());
        let argument = |address, written, assign| {
            let made = argument(&Ioeventfd { address, written, event: Arc::clone(&event) }, assign);
            (made.addr, made.len, made.datamatch, made.flags)
        };
        let (port, memory) = (IoAddress::Pio(0xcf8), IoAddress::Mmio(0xfeb0_0000));
        assert_eq!(argument(port, Written::Anything, true), (0xcf8, 0, 0, 2));
        assert_eq!(argument(port, Written::Word(Some(0)), true), (0xcf8, 2, 0, 3));
        assert_eq!(argument(memory, Written::Dword(None), true), (0xfeb0_0000, 4, 0, 0));
        assert_eq!(argument(memory, Written::Qword(Some(u64::MAX)), false), (0xfeb0_0000, 8, u64::MAX, 5));
    }
}
