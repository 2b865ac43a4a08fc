//! The kernel's statistics of a VM and of each vCPU. KVM_GET_STATS_FD returns a file (`descriptor`). The file describes
//! its own layout (`format`) and can be read while the guest runs (`reader`).

mod descriptor;
mod format;
mod histogram;
mod reader;

pub use descriptor::stats_file;
pub use format::{StatBase, StatDescriptor, StatKind, StatUnit, StatsSchema};
pub use histogram::Bucket;
pub use reader::{Readings, StatsReader, Target};

/// Why reading statistics failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The kernel's description of its statistics is invalid.
    #[error("cannot read the kernel's statistics: expected {expected} of {part}, got {actual}")]
    Format {
        /// `header`, `descriptors` or `data`.
        part: &'static str,
        /// The expected length.
        expected: String,
        /// The actual length.
        actual: String,
    },
    /// `pread` failed.
    #[error("pread failed for the statistics' {part}: {}", crate::errno_text::errno_text(*errno))]
    Read {
        /// `header`, `descriptors` or `data`.
        part: &'static str,
        /// The kernel's error number.
        errno: i32,
    },
}

type Result<T> = std::result::Result<T, StatsError>;
