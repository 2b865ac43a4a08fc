//! QEMU's KVM accelerator as a Rust crate: what `accel/kvm` is, smaller.
//!
//! The crate knows KVM; it knows no device and no Node. The order of use is the order of the kernel calls:
//!
//! 1. [`AccelProperties`]: validated options (`kernel-irqchip`, `notify-vmexit`, ...).
//! 2. [`Accelerator::new`]: opens the device, checks what QEMU requires, creates the VM, enables capabilities,
//!    registers the memory slots, then the irqchip and the PIT.
//! 3. [`Accelerator::launch`]: creates the vCPUs and their threads, which wait until [`Vcpus::resume`].
//!
//! A vCPU thread runs decode ([`exit`]), decide ([`vcpu`] and [`notify`]), loop; what happens is told through an
//! [`EventSink`]. Only `src/kvm/` names the kernel interface and contains `unsafe`.

mod accelerator;
mod bus;
mod capability;
mod error;
mod event;
pub mod exit;
mod instruction;
mod irqchip;
mod kvm;
pub mod notify;
pub mod properties;
mod registers;
mod start_state;
mod stats;
pub mod vcpu;

pub use accelerator::Accelerator;
pub use bus::{Bus, Request};
pub use capability::{Capability, REQUIRED};
pub use error::Error;
pub use event::{Event, EventSink, Fault, FaultKind, NotifyEvent, StopReason, Warning, WarningCode};
#[cfg(feature = "baseline")]
pub use kvm::baseline;
pub use kvm::probe::{HostReport, probe};
pub use kvm::ram::GuestRam;
pub use properties::AccelProperties;
pub use registers::{Registers, Segment};
pub use start_state::{StartMode, StartState};
pub use stats::{ExitCounts, ExitKind};
pub use vcpu::Vcpus;

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;
