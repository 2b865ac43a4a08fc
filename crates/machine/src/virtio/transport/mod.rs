//! The MMIO transport: a device's registers, and where the transports of a machine are. Knows a device as a
//! [`VirtioDevice`](super::VirtioDevice) only.

mod mmio;
pub mod places;

pub use mmio::Mmio;
