//! Statistics that the kernel counts for a VM and for each vCPU. KVM_GET_STATS_FD returns a file (`descriptor`), which describes its
//! own layout (`format`) and is read while the guest runs (`reader`).

mod descriptor;
mod format;
mod histogram;
mod reader;

pub use descriptor::stats_file;
pub use format::{StatBase, StatDescriptor, StatKind, StatUnit, StatsSchema};
pub use histogram::Bucket;
pub use reader::{Readings, StatsReader, Target};

/// Why statistics could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The kernel describes its statistics in a way that cannot be.
    #[error("the kernel's statistics cannot be read: expected {expected} of {part}, and got {actual}")]
    Format {
        /// `header`, `descriptors` or `data`.
        part: &'static str,
        /// The length it should have.
        expected: String,
        /// The length it has.
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
