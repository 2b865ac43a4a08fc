//! Guest RAM on this host.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `huge_pages`: the sizes of huge pages, and the error for a lack of them.
//! - `file`: files as RAM.
//! - `backend`: allocates RAM.
//! - `lost`: accesses to RAM that the host has lost.

mod backend;
mod file;
mod huge_pages;
mod lost;

pub use backend::{RamBackend, RamSource, allocate};
pub use huge_pages::HugePages;
pub(crate) use lost::{LostRam, check};
