//! Errors after which a device needs a reset.

use crate::virtio::interface::{Interrupt, WorkerError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

/// The bit DEVICE_NEEDS_RESET, and the callback that reports its reason.
pub struct Failures {
    needs_reset: AtomicBool,
    interrupt: Arc<Interrupt>,
    /// Each kind of error is reported once per device, because a guest can cause errors endlessly.
    driver: Once,
    host: Once,
    report: Box<dyn Fn(&WorkerError) + Send + Sync>,
}

impl Failures {
    pub fn new(interrupt: Arc<Interrupt>, report: Box<dyn Fn(&WorkerError) + Send + Sync>) -> Self {
        Self { needs_reset: AtomicBool::new(false), interrupt, driver: Once::new(), host: Once::new(), report }
    }

    /// True while the device waits for a reset by its driver and does nothing.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Clears DEVICE_NEEDS_RESET at a reset. A kind of error that has been reported is not reported again.
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
