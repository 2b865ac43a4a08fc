//! QEMU's KVM accelerator (`accel/kvm`) as a Rust crate, in a smaller form.
//!
//! The crate handles KVM only: it contains no device and no Node.js code. Callers use it in the order of the kernel
//! calls:
//!
//! 1. [`AccelProperties`]: validated options (`kernel-irqchip`, `notify-vmexit`, ...).
//! 2. [`Accelerator::new`]: opens the device, checks what QEMU requires, creates the VM, enables capabilities,
//!    registers the memory slots, then the irqchip and the PIT.
//! 3. [`Accelerator::launch`]: creates the vCPUs and their threads, which wait until [`Vcpus::resume`].
//!
//! ```
//! use kvm_accel::{AccelProperties, Accelerator, Bus, Event, EventSink, GuestRam, Request, StartMode, StartState, StopReason};
//! use std::sync::{Arc, mpsc};
//! use vm_memory::{Bytes, GuestAddress};
//!
//! /// Any `out` powers the machine off.
//! struct PowerButton;
//! impl Bus for PowerButton {
//!     fn pio_read(&self, _: u16, data: &mut [u8]) { data.fill(0xff) }
//!     fn pio_write(&self, _: u16, _: &[u8]) -> Option<Request> { Some(Request::Shutdown) }
//!     fn mmio_read(&self, _: u64, data: &mut [u8]) { data.fill(0xff) }
//!     fn mmio_write(&self, _: u64, _: &[u8]) -> Option<Request> { None }
//!     fn interrupt(&self) {}
//!     fn resume(&self) {}
//! }
//!
//! struct Events(mpsc::Sender<Event>);
//! impl EventSink for Events {
//!     fn emit(&self, event: Event) { let _ = self.0.send(event); }
//! }
//!
//! # if !std::path::Path::new("/dev/kvm").exists() { return Ok(()) }
//! let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
//! ram.write_slice(&[0xe6, 0x10], GuestAddress(0x1000))?; // out 0x10, al
//! let accel = Accelerator::new(AccelProperties::default(), 1, ram)?;
//! let start = StartState { mode: StartMode::Real, rip: 0x1000, rax: 0, rbx: 0, rsi: 0, rsp: 0 };
//! let (events, received) = mpsc::channel();
//! let vcpus = accel.launch(&start, Arc::new(PowerButton), Arc::new(Events(events)))?;
//! vcpus.resume();
//! assert_eq!(received.recv()?, Event::Stopped(StopReason::Guest(Request::Shutdown)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each vCPU thread runs a loop: decode an exit (`kvm_accel_kvm::run`), decide what it leads to ([`vcpu`] and
//! [`notify`]), and enter the guest again. It emits events through an [`EventSink`]. The crate `kvm_accel_kvm` wraps
//! the kernel interface, and `kvm_accel_memory` manages guest RAM.

//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `bus`: the interface that handles I/O and MMIO exits.
//! - `recent`: a cache of values that take long to read.
//! - `required`: the capabilities that every machine requires.
//! - `cpu`: the guest's processors: CPUID, MSRs that user space emulates, bus locks.
//! - `debug`: guest debug.
//! - `error`: errors with codes and remedies.
//! - `properties`: accelerator properties.
//! - `notify`: decides what happens after a notify exit.
//! - `event`: events that the accelerator emits.
//! - `instruction`: the instruction at rip.
//! - `state`: registers and clock while the machine is stopped.
//! - `stats`: statistics.
//! - `interrupts`: routes, irqfds and messages.
//! - `io`: accesses that the kernel handles without an exit.
//! - `dirty`: tracking of written pages.
//! - `vcpu`: vCPU threads.
//! - `accelerator`: the order of initialisation.
//! - `baseline`: a minimal program that runs a guest, for benchmarks.

#![cfg_attr(test, allow(clippy::duplicate_mod, reason = "tests compile vcpu/control against loom"))]

mod accelerator;
#[cfg(feature = "baseline")]
pub mod baseline;
mod bus;
pub mod cpu;
pub mod debug;
pub mod dirty;
mod error;
mod event;
mod instruction;
pub mod interrupts;
pub mod io;
pub mod notify;
pub mod properties;
mod recent;
mod required;
pub mod state;
pub mod stats;
pub mod vcpu;

pub use accelerator::{Accelerator, OpenedVm};
pub use bus::{Bus, Request};
pub use error::{Error, Result};
pub use event::{BusLockEvent, Event, EventSink, Fault, FaultKind, NotifyEvent, StopReason, Warning, WarningCode};
pub use kvm_accel_kvm::fd::{HostReport, probe};
pub use kvm_accel_kvm::host::{file_lock, tap};
pub use kvm_accel_kvm::lock;
pub use kvm_accel_kvm::state::{Registers, Segment, StartMode, StartState};
pub use kvm_accel_kvm::trace;
pub use kvm_accel_kvm::{Capability, Error as KvmError};
pub use kvm_accel_memory::{
    GuestMappings, GuestRam, GuestRegion, Loss, LossReason, PopulateError, RegionError, cancel, guest_io,
    slots as memory,
};
pub use properties::AccelProperties;
pub use required::REQUIRED;
pub use state::VcpuState;
pub use stats::{ExitCounts, ExitKind};
pub use vcpu::Vcpus;
