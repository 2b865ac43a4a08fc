//! Accesses that the kernel handles without a separate exit: coalesced writes, and writes that signal an eventfd.
//!
//! - [`Ioeventfd`]: a guest's write signals an eventfd, and the vCPU continues.
//! - `coalesced`: a guest's writes wait in a ring that all vCPUs share.
//!
//! [`Io`] is the handle that devices and buses keep.

mod coalesced;
mod handle;

use coalesced::Coalesced;
pub(crate) use handle::CoalescedOffer;
pub use handle::Io;
pub use kvm_accel_kvm::fd::{Ioeventfd, Written};
pub use kvm_accel_kvm::host::borrow_fd;
pub use kvm_accel_kvm::run::{CoalescedWrite, IoAddress};
