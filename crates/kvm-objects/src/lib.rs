//! KVM's own object model, for users who write the loop themselves: [`Kvm`], [`Vm`], [`Vcpu`], [`Device`], as safe values.
//!
//! What is safe here, and how:
//! - An ioctl is called by its number, and only if the kind of object has it in its table ([`calls`]); its argument is copied into memory
//!   of our own whose size the table knows. What contains a pointer has a method of its own.
//! - Guest memory ([`memory`]) is mapped by us, and a slot keeps it mapped until nobody can run a vCPU of that VM any more.
//! - A vCPU belongs to the thread that made it; only its kick ([`kicks`]) goes to others.
//!
//! ```
//! use kvm_accel::object::Kvm;
//!
//! # if !std::path::Path::new("/dev/kvm").exists() { return Ok(()) }
//! let vm = Kvm::open("/dev/kvm".as_ref())?.create_vm(0)?;
//! let vcpu = vm.create_vcpu(0)?;
//! let mut regs = [0; 144];
//! vcpu.with_bytes(0x8090_ae81, &mut regs)?; // KVM_GET_REGS
//! assert_eq!(regs[128..136], 0xfff0u64.to_ne_bytes()); // rip
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod calls;
mod device;
mod dirty_log;
mod event_fd;
mod ioctl;
pub mod kicks;
#[cfg(test)]
mod layout;
pub mod memory;
mod msr_filter;
mod shared_bytes;
mod slots;
mod system;
mod vcpu;
mod vm;
mod watch;

pub use super::mapping::Mapping;
pub use device::Device;
pub use event_fd::EventFd;
pub use msr_filter::MsrRange;
pub use shared_bytes::SharedBytes;
pub use system::Kvm;
pub use vcpu::{Ran, Vcpu};
pub use vm::Vm;

/// What the kernel answered, or its error number.
pub type Result<T> = std::result::Result<T, vmm_sys_util::errno::Error>;

/// The refusals of this layer are those the kernel would give.
fn refuse(errno: i32) -> vmm_sys_util::errno::Error {
    vmm_sys_util::errno::Error::new(errno)
}
