//! Statistics: what this crate counts itself ([`ExitCounts`]), and what the kernel counts for a VM and for each vCPU ([`Readings`]).
//!
//! `kvm_accel_kvm::upstream::statistics` reads the kernel's. Names, types and units are the kernel's; a newer kernel's further statistics appear by themselves.

mod exits;
mod machine;

pub use exits::{ExitCounts, ExitKind};
pub use kvm_accel_kvm::upstream::statistics::{
    Bucket, Readings, StatBase, StatDescriptor, StatKind, StatUnit, StatsSchema,
};
pub use machine::MachineStatistics;
