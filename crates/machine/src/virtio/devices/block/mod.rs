//! The block device (section 5.2): a disk from an image file or a block device of the host.
//!
//! - [`Block`]: the device. [`DiskConfig`]: its configuration. `disk`: what the device and its worker share.
//! - `config_space`: what the driver reads of the disk.
//! - `request`: reads a descriptor chain into a request. `job`: a request until its answer. `slice`: a part of it.
//! - `requests`: the worker. `ring_call`: slices by io_uring. `perform`: slices by the I/O thread.
//! - `leftover`: calls in flight after the end of a worker.
//! - `image`: the files that hold the bytes of a disk.

mod config_space;
mod device;
mod disk;
mod image;
mod job;
mod leftover;
mod perform;
#[cfg(test)]
mod qcow2_tests;
mod request;
mod requests;
mod ring_call;
mod slab;
mod slice;
#[cfg(test)]
mod tests;

pub use device::Block;
pub use image::{DiskConfig, ImageFormat};

/// Creates an empty qcow2 image for a test.
#[cfg(test)]
pub(crate) fn create_qcow2(path: &std::path::Path, size: u64) {
    qcow2_tests::create_at(path, size, None);
}
