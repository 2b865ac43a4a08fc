//! Dirty tracking: which guest pages were written since the last query.
//!
//! - `log`: the interface, [`DirtyLog`], over three back ends: KVM's bitmap, the bitmap with manual protection, and the
//!   rings.
//! - `enable`: selects a machine's back end.
//! - `pages`: sets of pages; `clear`: how the bitmap is cleared in pieces.
//! - `rings`: all rings of a machine; `reaper`: the thread that harvests them.

mod clear;
mod enable;
mod log;
mod pages;
mod reaper;
mod rings;

pub use log::{DirtyLog, Mode};
pub use pages::DirtyPages;

pub(crate) use enable::enable;
pub(crate) use log::KickAll;
pub(crate) use reaper::Reaper;
