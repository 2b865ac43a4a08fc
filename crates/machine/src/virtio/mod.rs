//! Virtio devices behind MMIO transports (Virtual I/O Device specification 1.2).
//!
//! - `devices/`: disks, networks, consoles, entropy, sockets between guest and host, and the balloon.
//! - `transport/`: the registers of a device, and the addresses and interrupt lines of the transports.
//! - `io_thread/`: the thread that serves a device's queues.
//! - [`throttle`]: rate limits.
//! - `interface/`: the types that these four share: a device, its worker, its queues.
//!
//! vCPU threads access the registers of a device. The device's I/O thread owns the queues. A driver's notification is an ioeventfd and the
//! device's interrupt an irqfd: the kernel handles a notification without an exit to userspace.

mod devices;
mod interface;
mod io_thread;
pub mod throttle;
mod transport;
#[cfg(test)]
mod under_load;

pub use devices::balloon::{Balloon, BalloonConfig, PAGE as BALLOON_PAGE, Statistic, Statistics};
pub use devices::block::{Block, DiskConfig, ImageFormat};
pub use devices::net::{Net, NetConfig};
pub use devices::rng::Rng;
pub use devices::vsock::{Accepted, Done, Listener, Vsock, VsockError, VsockLimits};
pub use devices::{block, console, net};
#[cfg(any(test, feature = "testing"))]
pub use interface::testing;
pub use interface::{
    Chain, ConfigInterrupt, Driver, DriverError, HostError, StopFlag, VirtQueue, VirtioDevice, Worker, WorkerError,
    lease,
};
pub use io_thread::Unanswered;
pub use transport::{Mmio, places as transports};
