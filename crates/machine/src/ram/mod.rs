//! Guest RAM on this host: its allocation (`backend`), files as RAM (`file`), huge pages (`huge_pages`), and accesses
//! to RAM that KVM could not complete (`lost`).

mod backend;
mod file;
mod huge_pages;
mod lost;

pub use backend::{RamBackend, RamSource, allocate};
pub use huge_pages::HugePages;
pub(crate) use lost::{LostRam, check};
