//! State that a device keeps across resets and hands to its current worker.

use kvm_accel::lock;
use std::sync::{Arc, Mutex, MutexGuard};

/// State of a device, which at most one worker uses at a time. It is here while there is no worker. Cloning is cheap; all clones share the
/// state.
#[derive(Debug)]
pub struct Holder<T>(Arc<Mutex<Option<T>>>);

impl<T> Holder<T> {
    /// Creates a holder of `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    /// Takes the state out for a worker. Dropping the lease puts it back.
    #[must_use]
    pub fn lease(&self) -> Lease<T> {
        Lease { value: self.lock().take(), holder: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        lock(&self.0)
    }
}

impl<T> Clone for Holder<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A worker's ownership of the state of a [`Holder`].
#[derive(Debug)]
pub struct Lease<T> {
    value: Option<T>,
    holder: Holder<T>,
}

impl<T> Lease<T> {
    /// Returns the state. `None` while another worker has it, which the transport prevents: it drops a worker before it starts the next
    /// one.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Returns the state mutably, see [`Lease::get`].
    pub const fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            *self.holder.lock() = Some(value);
        }
    }
}
