//! The synchronisation types of `stop_flag.rs` and `io_thread/shared.rs`. Their second compilation, in the tests, gets loom's types.

pub use std::sync::atomic::{AtomicU8, Ordering};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
