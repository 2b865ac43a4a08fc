//! Accesses that do not leave the kernel one by one: writes that are kept until someone looks, and writes that only signal.
//!
//! - `ioeventfd`: a guest's write signals an eventfd, and the vCPU goes on.
//! - `coalesced`: a guest's writes wait in a ring that all vCPUs share.
//!
//! [`Io`] is the handle that devices and buses keep.

mod coalesced;
mod handle;
mod ioeventfd;

pub use crate::kvm::event_fd::borrow_fd;
use coalesced::Coalesced;
pub use coalesced::KeptWrite;
pub(crate) use handle::CoalescedOffer;
pub use handle::Io;
pub use ioeventfd::{Ioeventfd, Written};

use std::fmt;

/// A port, or an address without RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoAddress {
    /// A port.
    Pio(u16),
    /// A guest physical address.
    Mmio(u64),
}

impl fmt::Display for IoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pio(port) => write!(f, "port {port:#x}"),
            Self::Mmio(address) => write!(f, "address {address:#x}"),
        }
    }
}
