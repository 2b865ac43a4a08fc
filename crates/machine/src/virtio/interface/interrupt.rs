//! The interrupt line of a device, and the causes of its interrupts.

use crate::devices::Irq;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vm_superio::Trigger;

/// The registers InterruptStatus and ConfigGeneration, and the interrupt line.
pub struct Interrupt {
    irq: Irq,
    status: AtomicU32,
    generation: AtomicU32,
}

impl Interrupt {
    pub fn new(irq: Irq) -> Self {
        Self { irq, status: AtomicU32::new(0), generation: AtomicU32::new(0) }
    }

    /// Interrupts the driver: the device has used a buffer.
    pub fn used(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// Interrupts the driver: the configuration space has changed.
    pub fn config(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        let Ok(()) = self.irq.trigger();
    }

    /// Returns InterruptStatus.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// Handles a write to InterruptACK.
    pub fn acknowledge(&self, causes: u32) {
        self.status.fetch_and(!causes, Ordering::SeqCst);
    }

    /// Returns ConfigGeneration. If it is the same before and after the driver has read several fields, the fields are consistent.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Clears InterruptStatus at a reset of the device.
    pub fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
    }
}

/// Notifies a driver that its device's configuration space has changed. Cloning is cheap.
#[derive(Clone)]
pub struct ConfigInterrupt(pub(in crate::virtio) Arc<Interrupt>);

impl ConfigInterrupt {
    /// Notifies the driver. Call this after the change.
    pub fn signal(&self) {
        self.0.config();
    }
}

impl fmt::Debug for ConfigInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigInterrupt").field("generation", &self.0.generation()).finish_non_exhaustive()
    }
}
