//! What a device keeps across resets and lends to the worker of the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something of a device's while nobody works with it. Each worker has it in turn. Cloning is cheap; all clones are the same.
#[derive(Debug)]
pub struct Holder<T>(Arc<Mutex<Option<T>>>);

impl<T> Holder<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Some(value))))
    }

    /// Lends it: it comes back when the lease is dropped.
    #[must_use]
    pub fn lease(&self) -> Lease<T> {
        Lease { value: self.lock().take(), holder: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Holder<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A worker's use of what a [`Holder`] keeps.
#[derive(Debug)]
pub struct Lease<T> {
    value: Option<T>,
    holder: Holder<T>,
}

impl<T> Lease<T> {
    /// `None` where another worker still has it; the transport lets one go before the next one comes.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// As [`Lease::get`].
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
