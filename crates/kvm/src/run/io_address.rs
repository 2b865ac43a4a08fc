//! The address of an access that exits to user space.

use std::fmt;

/// A port, or an address without RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IoAddress {
    /// A port.
    Pio(u16),
    /// A guest physical address.
    Mmio(u64),
}

impl fmt::Display for IoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pio(port) => write!(f, "port {port:#x}"),
            Self::Mmio(address) => write!(f, "address {address:#x}"),
        }
    }
}
