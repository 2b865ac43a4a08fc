//! The parts of `KVM_RUN`: the pages that the kernel shares with a vCPU's thread, exits as values, and the kick, which
//! interrupts `KVM_RUN`.

mod bell;
mod coalesced_ring;
mod exit;
mod io_address;
pub mod kick;
#[cfg(test)]
mod kick_tests;
mod run_page;
/// A second copy of the code, with its own handler and list of threads, as in a process where npm installed two
/// versions.
#[cfg(test)]
#[path = "kick.rs"]
#[allow(dead_code, reason = "the tests use a part")]
mod second_kick;

pub use bell::{Bell, Ticket};
#[cfg(any(test, feature = "testing"))]
pub use coalesced_ring::testing;
pub use coalesced_ring::{CoalescedRing, CoalescedWrite};
pub use exit::{DebugExit, Exit, InternalError, MsrAnswer, NotifyInfo, SUBERROR_EMULATION, reason_name};
pub use io_address::IoAddress;
pub use kick::Kick;
pub use run_page::{ImmediateExit, RunPage};
