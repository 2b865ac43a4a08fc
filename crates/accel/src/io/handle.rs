//! What a device or a bus needs for accesses that stay in the kernel.

use super::Coalesced;
use crate::Result;
use crate::bus::{Bus, Request};
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::{IoCalls, Ioeventfd};
use kvm_accel_kvm::run::{IoAddress, RunPage};
use std::sync::Arc;

/// A machine's ioeventfds and coalesced ranges. Cloning is cheap; all clones are the same.
///
/// Assigning waits for accesses on their way: it is not for the exit path. [`Io::drain`] is.
#[derive(Clone, Debug)]
pub struct Io {
    calls: IoCalls,
    coalesced: Arc<Coalesced>,
    offered: CoalescedOffer,
}

/// What the kernel can coalesce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoalescedOffer {
    /// KVM_CAP_COALESCED_MMIO's answer: the page of the ring in a vCPU's mapping, 0 where there is none.
    pub page: u32,
    /// KVM_CAP_COALESCED_PIO. A kernel without it takes a port for an address.
    pub ports: bool,
}

impl Io {
    pub(crate) fn new(calls: IoCalls, offered: CoalescedOffer) -> Self {
        Self { calls, coalesced: Arc::default(), offered }
    }

    /// Finds the ring in the first vCPU's mapping; what is taken out of it goes to `bus`.
    pub(crate) fn attach(&self, page: &RunPage, bus: &Arc<dyn Bus>) {
        if let Some(ring) = page.coalesced_ring(self.offered.page) {
            self.coalesced.attach(ring, Arc::downgrade(bus));
        }
    }

    /// Lets these writes signal the eventfd (KVM_IOEVENTFD), until [`Io::deassign`] or the end of the machine.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm): EEXIST where the same writes signal already, ENOSPC where the kernel has no room.
    pub fn assign(&self, ioeventfd: &Ioeventfd) -> Result<()> {
        Ok(self.calls.ioeventfd(ioeventfd, true)?)
    }

    /// Lets these writes leave the guest again.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm): ENOENT where they were not assigned.
    pub fn deassign(&self, ioeventfd: &Ioeventfd) -> Result<()> {
        Ok(self.calls.ioeventfd(ioeventfd, false)?)
    }

    /// Makes the kernel coalesce writes to `len` bytes from `start` on, until [`Io::drain`]. A device that coalesces its writes calls
    /// `drain` before it handles any other access, so that writes arrive in order.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) where the kernel cannot; every write leaves the guest then, which is as right and slower.
    pub fn coalesce(&self, start: IoAddress, len: u32) -> Result<()> {
        if self.offered.page == 0 || (matches!(start, IoAddress::Pio(_)) && !self.offered.ports) {
            let context = format!("{start}, size {len:#x}");
            return Err(KvmError::Ioctl { ioctl: "KVM_REGISTER_COALESCED_MMIO", context, errno: libc::ENOSYS }.into());
        }
        Ok(self.calls.coalesce(start, len, true)?)
    }

    /// Lets writes to these `len` bytes leave the guest again. Writes that are coalesced already wait for [`Io::drain`].
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) where the kernel refuses.
    pub fn stop_coalescing(&self, start: IoAddress, len: u32) -> Result<()> {
        Ok(self.calls.coalesce(start, len, false)?)
    }

    /// Passes all coalesced writes to the bus, in order, and waits for another thread that does so. Called by a device
    /// to which one of them is just passed, it does nothing.
    pub fn drain(&self) {
        self.coalesced.drain();
    }

    /// What a coalesced write has asked of the machine since this was called last.
    #[must_use]
    pub fn take_request(&self) -> Option<Request> {
        self.coalesced.take_request()
    }
}
