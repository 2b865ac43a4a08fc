//! Eventfds for safe code.

use std::os::fd::{AsRawFd, BorrowedFd};
use vmm_sys_util::eventfd::EventFd;

/// Borrows the descriptor of an eventfd, for waiting on it.
#[must_use]
pub fn borrow_fd(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: an EventFd owns its descriptor, and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
