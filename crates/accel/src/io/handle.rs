//! The handle of devices and buses for accesses that stay in the kernel.

use super::Coalesced;
use crate::Result;
use crate::bus::{Bus, Request};
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::{IoCalls, Ioeventfd};
use kvm_accel_kvm::run::{IoAddress, RunPage};
use std::sync::Arc;

/// A machine's ioeventfds and coalesced ranges. Cloning is cheap. All clones share the same state.
///
/// Assigning waits for accesses in progress, so it does not belong on the exit path. [`Io::drain`] does.
#[derive(Clone, Debug)]
pub struct Io {
    calls: IoCalls,
    coalesced: Arc<Coalesced>,
    offered: CoalescedOffer,
}

/// Which accesses the kernel can coalesce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoalescedOffer {
    /// The value of KVM_CAP_COALESCED_MMIO: the page of the ring in a vCPU's mapping, 0 if there is none.
    pub page: u32,
    /// KVM_CAP_COALESCED_PIO. A kernel without it would treat a port as a memory address.
    pub ports: bool,
}

impl Io {
    pub(crate) fn new(calls: IoCalls, offered: CoalescedOffer) -> Self {
        Self { calls, coalesced: Arc::default(), offered }
    }

    /// Finds the ring in the first vCPU's mapping. Drained writes go to `bus`.
    pub(crate) fn attach(&self, page: &RunPage, bus: &Arc<dyn Bus>) {
        if let Some(ring) = page.coalesced_ring(self.offered.page) {
            self.coalesced.attach(ring, Arc::downgrade(bus));
        }
    }

    /// Makes these writes signal the eventfd (KVM_IOEVENTFD), until [`Io::deassign`] or the end of the machine.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm): EEXIST if the same writes already signal an eventfd, ENOSPC if the kernel's
    /// table is full.
    pub fn assign(&self, ioeventfd: &Ioeventfd) -> Result<()> {
        Ok(self.calls.ioeventfd(ioeventfd, true)?)
    }

    /// Makes these writes exit to user space again.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm): ENOENT if the writes were not assigned.
    pub fn deassign(&self, ioeventfd: &Ioeventfd) -> Result<()> {
        Ok(self.calls.ioeventfd(ioeventfd, false)?)
    }

    /// Makes the kernel coalesce writes to `len` bytes from `start` on, until [`Io::drain`]. A device that coalesces its writes calls
    /// `drain` before it handles any other access, so that writes arrive in order.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) if the kernel fails to. Every write then exits to user space, which is equally
    /// correct and slower.
    pub fn coalesce(&self, start: IoAddress, len: u32) -> Result<()> {
        if self.offered.page == 0 || (matches!(start, IoAddress::Pio(_)) && !self.offered.ports) {
            let context = format!("{start}, size {len:#x}");
            return Err(KvmError::Ioctl { ioctl: "KVM_REGISTER_COALESCED_MMIO", context, errno: libc::ENOSYS }.into());
        }
        Ok(self.calls.coalesce(start, len, true)?)
    }

    /// Makes writes to these `len` bytes exit to user space again. Writes that are already coalesced wait for
    /// [`Io::drain`].
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails.
    pub fn stop_coalescing(&self, start: IoAddress, len: u32) -> Result<()> {
        Ok(self.calls.coalesce(start, len, false)?)
    }

    /// Delivers all coalesced writes to the bus, in order, and waits for another thread that does so. Has no effect
    /// when the device that receives one of these writes calls it.
    pub fn drain(&self) {
        self.coalesced.drain();
    }

    /// Takes the request to the machine that a coalesced write has caused since the last call.
    #[must_use]
    pub fn take_request(&self) -> Option<Request> {
        self.coalesced.take_request()
    }
}
