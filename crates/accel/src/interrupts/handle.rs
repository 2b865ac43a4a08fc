//! The handle with which a device interrupts the guest.

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

/// A machine's interrupts. Cloning is cheap. All clones share the same state.
///
/// A routing change waits for interrupts in delivery, so it does not belong on the exit path. All other functions may
/// be called there.
#[derive(Clone, Debug)]
pub struct Interrupts {
    calls: IrqCalls,
    router: Arc<Router>,
    /// `Some` if the IOAPIC is outside the kernel, because the kernel then does not see acknowledgements.
    resamples: Option<Arc<Resamples>>,
}

impl Interrupts {
    /// Routes the lines of an irqchip that has just been created. `limit` is the value of KVM_CAP_IRQ_ROUTING.
    pub(crate) fn new(calls: IrqCalls, irqchip: KernelIrqchip, limit: u32) -> Result<Self> {
        // QEMU's count is one less than the kernel's value.
        let limit = limit.saturating_sub(1);
        let (table, resamples) = match irqchip {
            KernelIrqchip::On => (RoutingTable::for_full_irqchip(limit), None),
            KernelIrqchip::Split => (RoutingTable::for_split_irqchip(limit), Some(Arc::default())),
            // Without an irqchip, the kernel rejects every route.
            KernelIrqchip::Off => (RoutingTable::new(0), None),
        };
        let router = Arc::new(Router::new(&calls, table)?);
        Ok(Self { calls, router, resamples })
    }

    /// Begins changes to the GSI routing table. Waits until no other change is in progress.
    #[must_use]
    pub fn change_routes(&self) -> RouteChanges<'_> {
        self.router.change(&self.calls)
    }

    /// Creates an eventfd that raises an edge on `gsi` (KVM_IRQFD).
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails.
    pub fn irqfd(&self, gsi: u32) -> Result<Irqfd> {
        irqfd::assign(&self.calls, gsi, None, None)
    }

    /// Creates an eventfd that raises the level-triggered `gsi` until the guest acknowledges it. The acknowledgement
    /// signals `resample`.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails.
    pub fn irqfd_with_resample(&self, gsi: u32, resample: EventFd) -> Result<Irqfd> {
        irqfd::assign(&self.calls, gsi, Some(resample), self.resamples.as_ref())
    }

    /// Reports to devices, for an IOAPIC outside the kernel, that the guest has acknowledged the level-triggered `gsi`.
    /// Returns true if a resample eventfd was signalled.
    pub fn acknowledged(&self, gsi: u32) -> bool {
        self.resamples.as_ref().is_some_and(|resamples| resamples.signal(gsi))
    }

    /// Sets how lost ticks of the PIT in the kernel are handled (KVM_REINJECT_CONTROL). The kernel's default is
    /// [`LostTickPolicy::Delay`].
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) if the PIT is not in the kernel.
    pub fn set_lost_tick_policy(&self, policy: LostTickPolicy) -> Result<()> {
        Ok(self.calls.reinject_control(policy == LostTickPolicy::Delay)?)
    }

    /// Stops the PIT in the kernel (true) while an HPET drives its line, or lets it run
    /// (KVM_PIT_FLAGS_HPET_LEGACY). The guest's settings of the PIT are kept.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) if the PIT is not in the kernel.
    pub fn replace_pit(&self, replaced: bool) -> Result<()> {
        Ok(self.calls.replace_pit(replaced)?)
    }

    /// Sends a message to the local APICs (KVM_SIGNAL_MSI), without a GSI.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails.
    pub fn send_msi(&self, msi: Msi) -> Result<Delivery> {
        Ok(self.calls.signal_msi(msi).map(Delivery::from)?)
    }

    /// Sets the level of an interrupt line (KVM_IRQ_LINE_STATUS).
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails.
    pub fn set_line(&self, gsi: u32, level: bool) -> Result<Delivery> {
        Ok(self.calls.irq_line_status(gsi, level).map(Delivery::from)?)
    }
}
