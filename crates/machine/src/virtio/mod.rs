//! Virtio devices behind MMIO transports (Virtual I/O Device specification 1.2).
//!
//! - [`VirtioDevice`] and [`Worker`]: what a device is to its transport, and what it does on its own thread.
//! - [`VirtQueue`] and [`Chain`]: a queue as a worker uses it. Everything in it comes from the guest, and is checked.
//! - [`Mmio`]: the transport's registers (section 4.2). [`transports`]: where transports are.
//! - [`throttle`]: rate limits.
//! - [`mod@block`]: images as disks.
//! - [`net`]: networks by a tap, by passt, or over a stream.
//! - [`console`]: terminals and named channels. [`Rng`]: the entropy device. [`Vsock`]: sockets between guest and host.
//! - [`Balloon`]: memory that the guest does without.
//!
//! - [`StopFlag`]: how a transport interrupts its worker. [`WorkerError`]: whose fault it is that a worker cannot continue.
//!
//! A device's registers are read and written by vCPU threads; its queues belong to its I/O thread. The driver's doorbell is an
//! ioeventfd and the device's interrupt an irqfd, so a request costs no exit to this process but the doorbell's light one.

mod balloon;
pub mod block;
pub mod console;
mod device;
mod interrupt;
mod io_thread;
pub mod lease;
mod mmio;
pub mod net;
mod queue;
mod rng;
mod stop_flag;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod throttle;
pub mod transports;
#[cfg(test)]
mod under_load;
mod vsock;
mod worker_error;

/// What `stop_flag.rs` and `io_thread/shared.rs` synchronise by; their second compilation, in the tests, gets loom's.
mod sync {
    pub use std::sync::atomic::{AtomicU8, Ordering};
    pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
}

pub use balloon::{Balloon, BalloonConfig, PAGE as BALLOON_PAGE, Statistic, Statistics};
pub use block::{Block, DiskConfig, ImageFormat};
pub use device::{Driver, VirtioDevice, Worker};
pub use interrupt::ConfigInterrupt;
pub use io_thread::Unanswered;
pub use mmio::Mmio;
pub use net::{Net, NetConfig};
pub use queue::{Chain, VirtQueue};
pub use rng::Rng;
pub use stop_flag::StopFlag;
pub use vsock::{Accepted, Done, Listener, Vsock, VsockError, VsockLimits};
pub use worker_error::{DriverError, HostError, WorkerError};
