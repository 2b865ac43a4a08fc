//! What a device needs to interrupt the guest.

use super::irqfd::{self, Irqfd, Resamples};
use super::msi::Delivery;
use super::pit::LostTickPolicy;
use super::router::{RouteChanges, Router};
use super::routing::RoutingTable;
use crate::Result;
use crate::properties::KernelIrqchip;
use kvm_accel_kvm::fd::{IrqCalls, Msi};
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// A machine's interrupts. Cloning is cheap; all clones are the same.
///
/// A routing change waits for interrupts on their way: it is not for the exit path. Everything else may be called from there.
#[derive(Clone, Debug)]
pub struct Interrupts {
    calls: IrqCalls,
    router: Arc<Router>,
    /// `Some` where the IOAPIC is outside the kernel, which then cannot see an acknowledgement.
    resamples: Option<Arc<Resamples>>,
}

impl Interrupts {
    /// Routes the lines of an irqchip that has just been created. `limit` is KVM_CAP_IRQ_ROUTING's answer.
    pub(crate) fn new(calls: IrqCalls, irqchip: KernelIrqchip, limit: u32) -> Result<Self> {
        // QEMU's count is one below what the kernel answers.
        let limit = limit.saturating_sub(1);
        let (table, resamples) = match irqchip {
            KernelIrqchip::On => (RoutingTable::for_full_irqchip(limit), None),
            KernelIrqchip::Split => (RoutingTable::for_split_irqchip(limit), Some(Arc::default())),
            // Nothing to route to: the kernel refuses every route.
            KernelIrqchip::Off => (RoutingTable::new(0), None),
        };
        let router = Arc::new(Router::new(&calls, table)?);
        Ok(Self { calls, router, resamples })
    }

    /// Begins changes to the GSI routing table; one who changes at a time.
    #[must_use]
    pub fn change_routes(&self) -> RouteChanges<'_> {
        self.router.change(&self.calls)
    }

    /// An eventfd that raises an edge on `gsi` (KVM_IRQFD).
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses.
    pub fn irqfd(&self, gsi: u32) -> Result<Irqfd> {
        irqfd::assign(&self.calls, gsi, None, None)
    }

    /// An eventfd that raises the level-triggered `gsi` until the guest acknowledges it; `resample` is signalled then.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses.
    pub fn irqfd_with_resample(&self, gsi: u32, resample: EventFd) -> Result<Irqfd> {
        irqfd::assign(&self.calls, gsi, Some(resample), self.resamples.as_ref())
    }

    /// For an IOAPIC outside the kernel: the guest has acknowledged the level-triggered `gsi`. True when a resample eventfd was
    /// signalled.
    pub fn acknowledged(&self, gsi: u32) -> bool {
        self.resamples.as_ref().is_some_and(|resamples| resamples.signal(gsi))
    }

    /// What becomes of lost ticks of the PIT in the kernel (KVM_REINJECT_CONTROL); the kernel's own default is
    /// [`LostTickPolicy::Delay`].
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) where there is no such PIT.
    pub fn set_lost_tick_policy(&self, policy: LostTickPolicy) -> Result<()> {
        Ok(self.calls.reinject_control(policy == LostTickPolicy::Delay)?)
    }

    /// Sends a message to the local APICs (KVM_SIGNAL_MSI), without a GSI.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses.
    pub fn send_msi(&self, msi: Msi) -> Result<Delivery> {
        Ok(self.calls.signal_msi(msi).map(Delivery::from)?)
    }

    /// Sets the level of an interrupt line (KVM_IRQ_LINE_STATUS).
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses.
    pub fn set_line(&self, gsi: u32, level: bool) -> Result<Delivery> {
        Ok(self.calls.irq_line_status(gsi, level).map(Delivery::from)?)
    }
}
