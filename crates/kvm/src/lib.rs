//! Wraps KVM: its state as values, and its file descriptors as types. Imports no other crate of this workspace.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `capability`: capabilities by the kernel's names.
//! - `errno_text`: the text of error numbers.
//! - `lock`: locks a mutex.
//! - `mapping`: memory that several owners share.
//! - `host`: system calls on host files that no safe library has.
//! - `trace`: trace events, filters and sessions.
//! - `upstream`: what kvm-ioctls lacks, in its style.
//! - `error`: errors of the kernel interface.
//! - `state`: a vCPU's registers as values.
//! - `run`: the run loop's parts: the shared page, exits, the kick.
//! - `fd`: the descriptors of the system, a VM and a vCPU, with their ioctls.
#![allow(unsafe_code, reason = "this crate calls the kernel and reads memory that it shares with the kernel")]
#![cfg_attr(test, allow(clippy::duplicate_mod, reason = "tests compile kick.rs as a second copy"))]

mod capability;
mod errno_text;
mod error;
pub mod fd;
pub mod host;
mod lock;
mod mapping;
pub mod run;
pub mod state;
pub mod trace;
pub mod upstream;

pub use capability::Capability;
pub use errno_text::errno_text;
pub use error::{Error, Result};
pub use lock::lock;
pub use mapping::Mapping;
