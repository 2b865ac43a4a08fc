//! Guest RAM on this host: where it comes from (`backend`), files (`file`), huge pages (`huge_pages`), and what an access means that
//! KVM could not carry out in it (`lost`).

mod backend;
mod file;
mod huge_pages;
mod lost;

pub use backend::{RamBackend, RamSource, allocate};
pub use huge_pages::HugePages;
pub(crate) use lost::{LostRam, check};
