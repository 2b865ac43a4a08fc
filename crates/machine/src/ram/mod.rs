//! Guest RAM on this host.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `huge_pages`: the sizes of huge pages, and the error for a lack of them.
//! - `file`: files as RAM.
//! - `room`: how much more memory the host can give.
//! - `backend`: allocates RAM.
//! - `lost`: accesses to RAM that the host has lost.

mod backend;
mod file;
mod huge_pages;
mod lost;
mod room;

pub use backend::{RamBackend, RamSource, allocate};
pub use huge_pages::HugePages;
pub(crate) use lost::{LostRam, check};
