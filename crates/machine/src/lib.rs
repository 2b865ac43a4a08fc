//! The machine that a guest sees: RAM layout, boot, buses, devices and firmware tables. `kvm_accel`, the accelerator, knows none of it.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `scratch`: temporary folders of tests.
//! - `checksum`: the checksum of MP tables and ACPI tables.
//! - `clock`: the time of the machine's timers, which stops while the machine is paused.
//! - `error`: errors of the configuration and of guest images.
//! - `host_file`: opens host files that a user names.
//! - `lost_output`: counts and reports output that the host could not write.
//! - `host_socket`: Unix sockets that the machine listens on.
//! - `sources`: waits for descriptors.
//! - `pty`: pseudo-terminals for serial ports.
//! - `layout`: addresses of RAM in the guest's physical address space.
//! - `bus`: routes port and MMIO accesses to devices.
//! - `ram`: allocates guest RAM, from memory or a file.
//! - `boot`: loads a guest image by the flat, Linux, multiboot 1 or PVH protocol, and computes the first vCPU's state.
//! - `firmware`: loads a firmware image at the reset vector.
//! - `devices`: platform devices: serial ports, RTC, fw_cfg, debug consoles, interrupt controllers, test devices.
//! - `interrupts`: interrupt lines, and the interrupt controllers outside the kernel.
//! - `virtio`: virtio devices and their MMIO transports.
//! - `low_memory`: what a BIOS leaves in the first MiB.
//! - `apic`: addresses and ids of APICs in firmware tables.
//! - `mptable`: the MP table.
//! - `acpi`: the ACPI tables.
//! - `board`: builds the machine around an accelerator and owns it.

#![cfg_attr(test, allow(clippy::duplicate_mod, reason = "tests compile the state of I/O threads against loom"))]

pub mod acpi;
mod apic;
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
mod lost_output;
mod low_memory;
mod mptable;
pub mod pty;
pub mod ram;
#[cfg(test)]
mod scratch;
mod sources;
pub mod virtio;

pub use error::{GuestImageError, GuestImageProblem, ImageRole, MachineConfigError, SetupError};
pub use sources::Sources;
