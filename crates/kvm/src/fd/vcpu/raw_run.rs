//! KVM_RUN without decoding, tracing or a check of the page. Benchmarks compare the exit path with it.

use super::Vcpu;
use crate::{Error, Result};
use kvm_bindings::{KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MMIO, kvm_run};
use std::os::fd::AsRawFd;

const KVM_RUN: libc::c_ulong = 0xae80;

/// A raw exit: the reason, and the port or address and the first data byte of I/O and MMIO.
#[derive(Clone, Copy, Debug)]
pub struct RawExit {
    /// KVM_EXIT_*.
    pub reason: u32,
    /// True if the guest writes.
    pub write: bool,
    /// Port or guest physical address.
    pub address: u64,
    /// The first byte written.
    pub byte: u8,
}

impl Vcpu {
    /// Calls KVM_RUN until `on_exit` returns false. Reads return all ones.
    ///
    /// # Errors
    /// KVM_RUN failed.
    pub fn run_raw(&mut self, mut on_exit: impl FnMut(RawExit) -> bool) -> Result<()> {
        let fd = self.fd.as_raw_fd();
        let run: *mut kvm_run = self.fd.get_kvm_run();
        loop {
            // SAFETY: the fd is a vCPU's, owned by `self`; KVM_RUN writes only the pages mapped for it.
            if unsafe { libc::ioctl(fd, KVM_RUN, 0) } < 0 {
                let errno = vmm_sys_util::errno::Error::last().errno();
                if errno == libc::EINTR {
                    continue;
                }
                return Err(Error::Ioctl { ioctl: "KVM_RUN", context: String::new(), errno });
            }
            // SAFETY: the kernel accesses the page again only in the next KVM_RUN. exit_reason selects the member of
            // the union, and the data of an I/O exit, size * count bytes, lies inside the mapping at the kernel's
            // offset.
            let exit = unsafe {
                let reason = (*run).exit_reason;
                match reason {
                    KVM_EXIT_IO => {
                        let io = (*run).__bindgen_anon_1.io;
                        let data = run.cast::<u8>().add(usize::try_from(io.data_offset).unwrap_or(0));
                        let write = u32::from(io.direction) == KVM_EXIT_IO_OUT;
                        if !write {
                            data.write_bytes(0xff, usize::from(io.size) * usize::try_from(io.count).unwrap_or(0));
                        }
                        RawExit { reason, write, address: io.port.into(), byte: *data }
                    }
                    KVM_EXIT_MMIO => {
                        let mmio = &mut (*run).__bindgen_anon_1.mmio;
                        let write = mmio.is_write != 0;
                        if !write {
                            mmio.data.fill(0xff);
                        }
                        RawExit { reason, write, address: mmio.phys_addr, byte: mmio.data[0] }
                    }
                    _ => RawExit { reason, write: false, address: 0, byte: 0 },
                }
            };
            if !on_exit(exit) {
                return Ok(());
            }
        }
    }
}
