//! KVM's object model as safe values, for users who write the vCPU loop themselves: [`Kvm`], [`Vm`], [`Vcpu`],
//! [`Device`].
//!
//! How the objects stay safe:
//! - An ioctl is called by its number, and only if the table of the object's kind contains it ([`calls`]). Its argument
//!   is copied into memory of this crate, with the size from the table. An ioctl whose argument contains a pointer has
//!   its own method.
//! - This crate maps guest memory ([`memory`]). A slot keeps the memory mapped for as long as a vCPU of that VM can
//!   run.
//! - A vCPU belongs to the thread that created it. Other threads use only its kick ([`kicks`]).
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `errno`: errors as the kernel reports them.
//! - `calls`: the ioctls of each kind of object, and the sizes of their arguments.
//! - `shared_bytes`: bytes that a guest or another thread may change.
//! - `ioctl`: calls by number.
//! - `memory`: guest memory.
//! - `event_fd`: eventfds.
//! - `slots`: keeps a guest's memory mapped.
//! - `device`: devices in the kernel.
//! - `watch`: interrupts calls of KVM_RUN that take long.
//! - `kicks`: kicks a vCPU from another thread.
//! - `vcpu`, `vm`, `system`: the objects.
//! - `layout`: a test that writes TypeScript's tables of structures.
//!
//! ```
//! use kvm_accel_kvm_objects::Kvm;
//!
//! # if !std::path::Path::new("/dev/kvm").exists() { return Ok(()) }
//! let vm = Kvm::open("/dev/kvm".as_ref())?.create_vm(0)?;
//! let vcpu = vm.create_vcpu(0)?;
//! let mut regs = [0; 144];
//! vcpu.with_bytes(0x8090_ae81, &mut regs)?; // KVM_GET_REGS
//! assert_eq!(regs[128..136], 0xfff0u64.to_ne_bytes()); // rip
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(unsafe_code, reason = "this crate calls the kernel by number and shares guest memory with JavaScript")]

pub mod calls;
mod device;
mod errno;
mod event_fd;
mod ioctl;
pub mod kicks;
#[cfg(test)]
mod layout;
pub mod memory;
mod shared_bytes;
mod slots;
mod system;
mod vcpu;
mod vm;
mod watch;

pub use device::Device;
pub use errno::Result;
pub use event_fd::EventFd;
pub use kvm_accel_kvm::Mapping;
pub use shared_bytes::SharedBytes;
pub use system::Kvm;
pub use vcpu::{Ran, Vcpu};
pub use vm::{MsrRange, Vm};
