//! The block device (section 5.2): a disk from an image file or a block device of the host.
//!
//! - [`Block`]: the device; [`DiskConfig`]: what it is made from.
//! - `request`: descriptor chains as requests; `requests`: their life, from the queue to the answer.
//! - `image`: the files that hold the bytes of a disk.
//! - `config_space`: what the driver is told of the disk.

mod config_space;
mod device;
mod image;
#[cfg(test)]
mod qcow2_tests;
mod request;
mod requests;
mod slab;
#[cfg(test)]
mod tests;

pub use device::Block;
pub use image::{DiskConfig, ImageFormat};

/// Creates an empty qcow2 image for a test.
#[cfg(test)]
pub(crate) fn create_qcow2(path: &std::path::Path, size: u64) {
    qcow2_tests::create_at(path, size, None);
}
