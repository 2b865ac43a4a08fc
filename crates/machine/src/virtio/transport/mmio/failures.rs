//! Errors of a device that only its reset repairs.

use crate::virtio::interface::{Interrupt, WorkerError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

/// DEVICE_NEEDS_RESET, and the callback that reports its reason.
pub struct Failures {
    needs_reset: AtomicBool,
    interrupt: Arc<Interrupt>,
    /// Each kind of error is reported once for a device, because a guest can cause errors without end.
    driver: Once,
    host: Once,
    report: Box<dyn Fn(&WorkerError) + Send + Sync>,
}

impl Failures {
    pub fn new(interrupt: Arc<Interrupt>, report: Box<dyn Fn(&WorkerError) + Send + Sync>) -> Self {
        Self { needs_reset: AtomicBool::new(false), interrupt, driver: Once::new(), host: Once::new(), report }
    }

    /// Whether the device does nothing until its driver resets it.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Clears DEVICE_NEEDS_RESET at a reset. Errors that were reported are not reported again.
    pub fn clear(&self) {
        self.needs_reset.store(false, Ordering::SeqCst);
    }

    /// Sets DEVICE_NEEDS_RESET, and reports `error`. The device does nothing until its driver resets it.
    pub fn add(&self, error: &WorkerError) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.interrupt.config();
        let once = match error {
            WorkerError::Driver(_) => &self.driver,
            WorkerError::Host(_) => &self.host,
        };
        once.call_once(|| (self.report)(error));
    }
}
