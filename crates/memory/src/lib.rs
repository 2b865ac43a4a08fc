//! Guest RAM: mappings of this process that a guest uses as its memory.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `cancel`: cancellation of long work from another thread.
//! - `error`: why memory cannot be mapped.
//! - `ram`: the mappings, guarded against SIGBUS, and giving pages back to the host.
//! - `guest_io`: a file's bytes to and from guest RAM, also through io_uring.
//! - `slots`: the kernel's memory slots, and the RAM behind them.
#![allow(unsafe_code, reason = "this crate maps guest memory and passes its addresses to the kernel")]

pub mod cancel;
mod error;
pub mod guest_io;
mod ram;
pub mod slots;

pub use error::{Error, RegionError, Result};
pub use ram::{GuestMappings, GuestRam, GuestRegion, Interrupt, Loss, LossReason, PopulateError};
