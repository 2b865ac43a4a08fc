//! ioeventfd: what a guest writes to signal an eventfd.

use crate::run::IoAddress;
use std::fmt;
use std::sync::Arc;
use vmm_sys_util::eventfd::EventFd;

/// Which writes count, by size and value. A value has the width of its access, so that none is asked for that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Every write, of any size.
    Anything,
    /// Of 1 byte: any value, or this one.
    Byte(Option<u8>),
    /// Of 2 bytes.
    Word(Option<u16>),
    /// Of 4 bytes.
    Dword(Option<u32>),
    /// Of 8 bytes. No port is written so.
    Qword(Option<u64>),
}

impl Written {
    /// In bytes; 0 for any.
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

    /// The only value that counts, if there is one.
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

/// An eventfd and the writes that signal it instead of leaving the guest.
///
/// A write that signals the eventfd does not leave the guest. Every other write to the same address does.
#[derive(Clone, Debug)]
pub struct Ioeventfd {
    /// Where.
    pub address: IoAddress,
    /// Which writes.
    pub written: Written,
    /// What they signal.
    pub event: Arc<EventFd>,
}

impl fmt::Display for Ioeventfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, size {}", self.address, self.written.size())?;
        self.written.value().map_or(Ok(()), |value| write!(f, ", value {value:#x}"))
    }
}
