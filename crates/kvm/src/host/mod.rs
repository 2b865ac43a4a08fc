//! System calls on host files that neither the standard library nor rustix has as safe functions.

mod event_fd;
pub mod file_lock;
pub mod tap;

pub use event_fd::borrow_fd;
