//! KVM's file descriptors, one type for each kind, as in the kernel's own object model: [`System`], [`Vm`], [`Vcpu`].
//!
//! The result of every ioctl passes through `failed()`, which traces the ioctl and names it in its error.

mod cpuid;
mod machine_check;
mod probe;
mod statistics;
mod system;
mod vcpu;
mod vm;

pub use cpuid::{Leaf, entries, instruction_leaves, leaves};
pub use machine_check::machine_checks;
pub use probe::{HostReport, probe};
pub use system::System;
#[cfg(feature = "baseline")]
pub use vcpu::RawExit;
pub use vcpu::{DebugWords, StateFeatures, Vcpu};
pub use vm::{
    Chip, ChipState, DirtyCalls, FilteredMsrs, IoCalls, Ioeventfd, IrqCalls, IrqRoute, Msi, PAGE, PicSetup, Route,
    Slot, SlotCall, SlotCalls, Vm, VmClock, Written,
};
