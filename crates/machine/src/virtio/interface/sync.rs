//! The synchronisation types of `stop_flag.rs` and `io_thread/shared.rs`. The tests compile these two files a second time, with loom's
//! types.

pub use std::sync::atomic::{AtomicU8, Ordering};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
