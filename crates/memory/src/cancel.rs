//! Cancellation of long work from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that ends long work early: loading an image, populating RAM, waiting for a process.
///
/// All clones share one flag. Work that can take more than a few milliseconds calls [`Cancel::check`] between slices of at most
/// 1 MiB of data or 10 ms of waiting.
///
/// ```
/// use kvm_accel_memory::cancel::{Cancel, Cancelled};
///
/// let cancel = Cancel::default();
/// assert_eq!(cancel.check(), Ok(()));
/// cancel.clone().cancel();
/// assert_eq!(cancel.check(), Err(Cancelled));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Requests that all work holding a clone of this flag ends.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether [`Cancel::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Fails once [`Cancel::cancel`] was called.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// The machine ended before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine ended before this operation completed")]
pub struct Cancelled;
