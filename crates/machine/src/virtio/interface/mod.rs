//! What a virtio device, its transport and its I/O thread know of each other.
//!
//! - [`VirtioDevice`]: the device as its transport sees it. [`Driver`]: what the guest's driver has set up.
//! - [`Worker`]: the device at work on its I/O thread. [`WorkerError`]: why it cannot continue.
//! - [`VirtQueue`] and [`Chain`]: a queue as a worker uses it.
//! - [`ConfigInterrupt`] and [`StopFlag`]: signals to the driver and to the worker.
//! - [`lease`]: state of a device that its workers use one after the other.

mod device;
mod interrupt;
pub mod lease;
mod queue;
mod stop_flag;
pub(super) mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker_error;

pub(super) use device::read_space;
pub use device::{Driver, VirtioDevice, Worker};
pub use interrupt::ConfigInterrupt;
pub(super) use interrupt::Interrupt;
pub use queue::{Chain, VirtQueue};
pub use stop_flag::StopFlag;
pub use worker_error::{DriverError, HostError, WorkerError};
