//! ioeventfd: guest writes that signal an eventfd.

use crate::run::IoAddress;
use std::fmt;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// Which writes match, by size and value. A value has the width of its access, so every value is one that the guest can
/// write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Every write, of any size.
    Anything,
    /// A 1-byte write of any value, or of this value.
    Byte(Option<u8>),
    /// A 2-byte write.
    Word(Option<u16>),
    /// A 4-byte write.
    Dword(Option<u32>),
    /// An 8-byte write. Ports have no such writes.
    Qword(Option<u64>),
}

impl Written {
    /// Returns the size in bytes; 0 for any size.
    #[must_use]
    pub const fn size(self) -> u32 {
        match self {
            Self::Anything => 0,
            Self::Byte(_) => 1,
            Self::Word(_) => 2,
            Self::Dword(_) => 4,
            Self::Qword(_) => 8,
        }
    }

    /// Returns the only value that matches, if there is one.
    #[must_use]
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Anything => None,
            Self::Byte(value) => value.map(u64::from),
            Self::Word(value) => value.map(u64::from),
            Self::Dword(value) => value.map(u64::from),
            Self::Qword(value) => value,
        }
    }
}

/// An eventfd and the writes that signal it without an exit to user space.
///
/// A write that matches signals the eventfd and does not exit. Every other write to the same address exits.
#[derive(Clone, Debug)]
pub struct Ioeventfd {
    /// The address.
    pub address: IoAddress,
    /// The writes that match.
    pub written: Written,
    /// The eventfd to signal.
    pub event: Arc<EventFd>,
}

impl fmt::Display for Ioeventfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, size {}", self.address, self.written.size())?;
        self.written.value().map_or(Ok(()), |value| write!(f, ", value {value:#x}"))
    }
}
