//! The MMIO transport: a device's registers, and the addresses and lines of a machine's transports. It accesses a device only through
//! [`VirtioDevice`](super::VirtioDevice).

mod mmio;
pub mod places;

pub use mmio::Mmio;
