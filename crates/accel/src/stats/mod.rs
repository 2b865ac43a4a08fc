//! Statistics: what this crate counts itself ([`ExitCounts`]), and what the kernel counts for a VM and for each vCPU ([`Readings`]).
//!
//! The kernel's are read from a file for each (`reader.rs`), whose layout it describes itself (`format.rs`). Names, types and units are the kernel's; a newer kernel's further statistics appear by themselves.

mod exits;
mod format;
mod histogram;
mod machine;
mod reader;

pub use exits::{ExitCounts, ExitKind};
pub use format::{StatBase, StatDescriptor, StatKind, StatUnit, StatsSchema};
pub use histogram::Bucket;
pub use machine::MachineStatistics;
pub use reader::Readings;
pub(crate) use reader::{StatsReader, Target};
