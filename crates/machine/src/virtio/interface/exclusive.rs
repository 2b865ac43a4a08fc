//! State of a device that one worker at a time uses, and that outlives its workers.

use kvm_accel::lock;
use std::sync::{Arc, Mutex, MutexGuard};

/// State of a device that at most one worker uses at a time. A worker claims the state when it starts and returns it when it ends, so the
/// state survives a reset of the device. Cloning is cheap; all clones share the state.
#[derive(Debug)]
pub struct Exclusive<T>(Arc<Mutex<Option<T>>>);

impl<T> Exclusive<T> {
    /// Stores `value`, unclaimed.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    /// Claims the state for a worker until the claim is dropped.
    #[must_use]
    pub fn claim(&self) -> Claim<T> {
        Claim { value: self.lock().take(), origin: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        lock(&self.0)
    }
}

impl<T> Clone for Exclusive<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A worker's claim on an [`Exclusive`] state. Dropping the claim returns the state.
#[derive(Debug)]
pub struct Claim<T> {
    value: Option<T>,
    origin: Exclusive<T>,
}

impl<T> Claim<T> {
    /// Returns the state. `None` if another worker had claimed it first. The transport prevents that: it drops a worker before it starts
    /// the next one.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Returns the state mutably, see [`Claim::get`].
    pub const fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            *self.origin.lock() = Some(value);
        }
    }
}
