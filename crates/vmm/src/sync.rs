//! The synchronisation primitives of this crate: std's, or shuttle's in a test that explores interleavings.

#[cfg(feature = "shuttle")]
use shuttle::sync::MutexGuard;
#[cfg(feature = "shuttle")]
pub use shuttle::sync::{Condvar, Mutex};
#[cfg(feature = "shuttle")]
pub use shuttle::thread;

/// `kvm_accel::lock` for shuttle's mutex.
#[cfg(feature = "shuttle")]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(not(feature = "shuttle"))]
pub use kvm_accel::lock;
#[cfg(not(feature = "shuttle"))]
pub use std::sync::{Condvar, Mutex};
#[cfg(not(feature = "shuttle"))]
pub use std::thread;
