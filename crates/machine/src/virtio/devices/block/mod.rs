//! The block device (section 5.2): a disk in an image file or on a block device of the host.
//!
//! - [`Block`]: the device. [`DiskConfig`]: its configuration. `disk`: the state that the device and its worker share.
//! - `config_space`: the configuration space.
//! - `request`: parses a descriptor chain into a request. `job`: a request until its completion. `slice`: splits requests into slices.
//! - `requests`: the worker. `ring_call`: slices that io_uring does. `perform`: slices that the I/O thread does.
//! - `leftover`: calls that are still in flight after the end of a worker.
//! - `image`: the files that store the contents of a disk.

mod config_space;
#[cfg(test)]
mod detection_tests;
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
