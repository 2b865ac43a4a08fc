//! Virtio devices behind MMIO transports (Virtual I/O Device specification 1.2).
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `interface`: the traits and types that the modules below share: devices, workers, virtqueues.
//! - `throttle`: rate limits.
//! - `io_thread`: the thread that runs a device's worker.
//! - `transport`: the MMIO registers of a device, and their addresses.
//! - `devices`: disks, networks, consoles, entropy, vsock, and the balloon.
//! - `under_load`: a test that stops each device while its queues are busy.
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
    Chain, ChainReader, ChainWriter, ConfigInterrupt, Driver, DriverError, HostError, StopFlag, VirtQueue,
    VirtioDevice, Worker, WorkerError, exclusive,
};
pub use io_thread::Unanswered;
pub use transport::{Mmio, places as transports};
