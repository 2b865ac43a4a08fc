//! What a guest of kvm-accel sees of its machine; the accelerator below (`kvm_accel`) knows none of it.
//!
//! - [`layout`] and [`ram`]: where RAM lies in the guest's address space, and its allocation.
//! - [`bus`]: who answers which ports and addresses, the machine's half of [`kvm_accel::Bus`].
//! - [`devices`]: what is at fixed ports: serial ports, clock, fw_cfg, debug consoles, test devices.
//! - [`interrupts`]: lines, and the controllers that are outside the kernel.
//! - [`board`]: all of it around an accelerator, as one machine.
//! - [`virtio`]: virtio devices and their transports.
//! - [`acpi`]: the tables that tell a guest of it.
//! - [`firmware`]: an image at the reset vector.
//! - [`host_socket`]: Unix sockets where processes of the host connect.
//! - [`boot`]: from a guest image to the state of the first vCPU, by flat, Linux's, multiboot 1 or PVH rules.

#![cfg_attr(test, allow(clippy::duplicate_mod, reason = "tests compile the state of I/O threads against loom"))]

pub mod acpi;
pub mod board;
pub mod boot;
pub mod bus;
mod checksum;
mod clock;
pub mod devices;
mod error;
pub mod firmware;
mod host_file;
pub mod host_socket;
pub mod interrupts;
pub mod layout;
mod mptable;
pub mod pty;
pub mod ram;
#[cfg(test)]
mod scratch;
pub mod virtio;

pub use error::{GuestImageError, GuestImageProblem, ImageRole, MachineConfigError, SetupError};
