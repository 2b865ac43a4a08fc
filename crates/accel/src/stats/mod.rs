//! Statistics: the counters of this crate ([`ExitCounts`]), and the kernel's statistics of a VM and of each vCPU
//! ([`Readings`]).
//!
//! `kvm_accel_kvm::upstream::statistics` reads the kernel's statistics. Names, types and units are the kernel's.
//! Further statistics of a newer kernel appear without a change here.

mod exits;
mod machine;

pub use exits::{ExitCounts, ExitKind};
pub use kvm_accel_kvm::upstream::statistics::{
    Bucket, Readings, StatBase, StatDescriptor, StatKind, StatUnit, StatsSchema,
};
pub use machine::MachineStatistics;
