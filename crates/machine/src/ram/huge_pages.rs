//! Huge pages: their sizes, and the error for a lack of them.

use crate::MachineConfigError;
use rustix::fs::MemfdFlags;
use std::fs::read_to_string;

/// The huge pages of x86.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// 2 MiB.
    Size2M,
    /// 1 GiB.
    Size1G,
}

impl HugePages {
    /// Returns the huge pages of this many bytes.
    ///
    /// # Errors
    /// Fails if x86 has no huge pages of that size.
    pub fn new(bytes: u64) -> Result<Self, MachineConfigError> {
        [Self::Size2M, Self::Size1G].into_iter().find(|size| size.bytes() == bytes).ok_or_else(|| {
            let message = format!("invalid huge page size of {bytes} bytes: expected 2 MiB or 1 GiB");
            MachineConfigError::new("memory", message, "Use huge pages of 2M or 1G.")
        })
    }

    /// Returns the size of one page in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size2M => 2 << 20,
            Self::Size1G => 1 << 30,
        }
    }

    pub(super) const fn mmap_flags(self) -> i32 {
        libc::MAP_HUGETLB
            | match self {
                Self::Size2M => libc::MAP_HUGE_2MB,
                Self::Size1G => libc::MAP_HUGE_1GB,
            }
    }

    pub(super) fn memfd_flags(self) -> MemfdFlags {
        MemfdFlags::HUGETLB
            | match self {
                Self::Size2M => MemfdFlags::HUGE_2MB,
                Self::Size1G => MemfdFlags::HUGE_1GB,
            }
    }

    pub(super) fn check_size(self, size: u64) -> Result<(), MachineConfigError> {
        if size.is_multiple_of(self.bytes()) {
            return Ok(());
        }
        let message = format!("memory of {size} bytes is not a multiple of its huge page size, {} bytes", self.bytes());
        Err(MachineConfigError::new("memory", message, "Round the size to a multiple of the huge pages."))
    }
}

/// Returns the error of a host with fewer free huge pages than `size` bytes need; `None` if it has enough.
pub fn shortage(pages: HugePages, size: u64) -> Option<MachineConfigError> {
    let kib = pages.bytes() >> 10;
    let folder = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB");
    let needed = size.div_ceil(pages.bytes());
    let free = read_to_string(format!("{folder}/free_hugepages")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let (message, remedy) = match free {
        Some(free) if free >= needed => return None,
        Some(free) => (
            format!(
                "memory of {size} bytes needs {needed} huge pages of {kib} KiB, but the host has {free} free pages"
            ),
            "As root, write a larger number to nr_hugepages in /sys/kernel/mm/hugepages, or omit huge pages.",
        ),
        None => (
            format!("memory of {size} bytes needs huge pages of {kib} KiB, which the host's kernel does not support"),
            "Use the other huge page size, or omit huge pages.",
        ),
    };
    Some(MachineConfigError::new("memory", message, remedy))
}
