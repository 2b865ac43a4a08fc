//! The interface between a virtio device, its transport and its I/O thread.
//!
//! - [`VirtioDevice`]: the device as its transport sees it. [`Driver`]: the driver's set-up of the device.
//! - [`Worker`]: the part of the device that runs on its I/O thread. [`WorkerError`]: why it cannot continue.
//! - [`VirtQueue`] and [`Chain`]: a queue as a worker uses it, and a chain with its [`ChainReader`] and [`ChainWriter`].
//! - [`ConfigInterrupt`] and [`StopFlag`]: signals to the driver and to the worker.
//! - [`exclusive`]: state of a device that one worker at a time uses, across resets.

mod chain;
mod device;
pub mod exclusive;
mod interrupt;
mod queue;
mod stop_flag;
pub(super) mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker_error;

pub use chain::{Chain, ChainReader, ChainWriter};
pub(super) use device::read_space;
pub use device::{Driver, VirtioDevice, Worker};
pub use interrupt::ConfigInterrupt;
pub(super) use interrupt::Interrupt;
pub(super) use queue::ENOUGH_DESCRIPTORS;
pub use queue::VirtQueue;
pub use stop_flag::StopFlag;
pub use worker_error::{DriverError, HostError, WorkerError};
