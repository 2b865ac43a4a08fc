//! KVM interfaces that kvm-ioctls 0.25 and kvm-bindings 0.14 lack.
//!
//! This code is written like a contribution to those crates: functions take a descriptor and return the error number.
//! Of the rest of this project, it depends only on [`Mapping`](crate::Mapping). `fd` adds trace events and the context
//! of errors.
//!
//! - [`dirty_log`]: KVM_GET_DIRTY_LOG into a buffer of the caller, KVM_CLEAR_DIRTY_LOG, KVM_RESET_DIRTY_RINGS.
//! - `dirty_ring`, `harvest`: a vCPU's dirty ring and its protocol.
//! - [`statistics`]: KVM_GET_STATS_FD and the file behind it.
//! - [`system`], [`vm`], [`vcpu`]: other ioctls, by the descriptor that they are called on.

pub mod dirty_log;
mod dirty_ring;
mod harvest;
pub mod statistics;
pub mod system;
pub mod vcpu;
pub mod vm;

pub use dirty_ring::DirtyRing;
pub use harvest::{DIRTY, DirtyPage, Entries, RESET, harvest};

use vmm_sys_util::errno;

/// The result of an ioctl.
pub type Result<T> = std::result::Result<T, errno::Error>;

/// Converts the return value of an ioctl to a result.
fn answer(result: libc::c_int) -> Result<u32> {
    u32::try_from(result).map_err(|_| errno::Error::last())
}
