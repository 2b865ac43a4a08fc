//! A device's interrupt line and why it was raised.

use crate::devices::Irq;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use vm_superio::Trigger;

/// InterruptStatus, ConfigGeneration, and the line.
pub struct Interrupt {
    irq: Irq,
    status: AtomicU32,
    generation: AtomicU32,
}

impl Interrupt {
    pub fn new(irq: Irq) -> Self {
        Self { irq, status: AtomicU32::new(0), generation: AtomicU32::new(0) }
    }

    /// A buffer was used.
    pub fn used(&self) {
        self.raise(VIRTIO_MMIO_INT_VRING);
    }

    /// The configuration space has changed.
    pub fn config(&self) {
        self.generation.fetch_add(1, Ordering::Release);
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    fn raise(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        let Ok(()) = self.irq.trigger();
    }

    /// InterruptStatus.
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// InterruptACK.
    pub fn acknowledge(&self, causes: u32) {
        self.status.fetch_and(!causes, Ordering::SeqCst);
    }

    /// ConfigGeneration: the same before and after reading means that what was read belongs together.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The device was reset.
    pub fn reset(&self) {
        self.status.store(0, Ordering::SeqCst);
    }
}

/// Tells a driver that its device's configuration space has changed. Cloning is cheap.
#[derive(Clone)]
pub struct ConfigInterrupt(pub(in crate::virtio) Arc<Interrupt>);

impl ConfigInterrupt {
    /// To be called after the change.
    pub fn signal(&self) {
        self.0.config();
    }
}

impl fmt::Debug for ConfigInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigInterrupt").field("generation", &self.0.generation()).finish_non_exhaustive()
    }
}
