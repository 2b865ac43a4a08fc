//! The kernel interface: the only folder that names kvm-ioctls and kvm-bindings, and the only one with `unsafe`.
//!
//! One file per kind of fd ([`system`], [`vm`], [`vcpu`]), as in the kernel's own object model, and one for each
//! thing two threads share ([`run_page`], [`kick`]).
#![allow(unsafe_code)]

#[cfg(feature = "baseline")]
pub mod baseline;
pub mod bell;
pub mod clock;
pub mod coalesced_ring;
pub mod cpuid;
pub mod dirty_log;
pub mod dirty_ring;
mod discard;
pub mod event_fd;
pub mod file_lock;
pub mod guest_io;
pub mod io_calls;
pub mod ioctl_trace;
pub mod irq;
pub mod kick;
#[cfg(test)]
mod kick_tests;
pub mod machine_check;
pub mod mapping;
pub mod memory_slots;
mod msr_filter;
pub mod object;
pub mod probe;
pub mod ram;
pub mod run_page;
/// A second copy of the code, with a handler and a list of threads of its own: npm makes one by installing two versions.
#[cfg(test)]
#[path = "kick.rs"]
#[allow(dead_code, reason = "the tests use a part")]
mod second_kick;
pub mod sigbus;
pub mod state;
pub mod stats_fd;
pub mod system;
pub mod tap;
pub mod vcpu;
pub mod vm;

use crate::Error;

/// Names the ioctl that was called: for the trace, and, curried for `map_err`, for the error if it failed.
pub(crate) fn failed(
    ioctl: &'static str,
    context: impl Into<String>,
) -> impl FnOnce(vmm_sys_util::errno::Error) -> Error {
    ioctl_trace::called(ioctl, None);
    error_of(ioctl, context)
}

fn error_of(ioctl: &'static str, context: impl Into<String>) -> impl FnOnce(vmm_sys_util::errno::Error) -> Error {
    let context = context.into();
    move |error| Error::Ioctl { ioctl, context, errno: error.errno() }
}
