//! The configuration of a board.

use super::PlatformDevice;
use crate::boot::Boot;
use crate::firmware::Firmware;
use crate::interrupts::IsaChips;
use crate::ram::RamBackend;
use crate::virtio::VirtioDevice;
use kvm_accel::AccelProperties;
use kvm_accel::cpu::CpuConfig;
use kvm_accel::interrupts::LostTickPolicy;
use std::sync::Arc;

/// The configuration of a board. It knows devices by [`PlatformDevice`] and [`VirtioDevice`] only.
pub struct BoardConfig {
    /// Accelerator properties.
    pub accel: AccelProperties,
    /// RAM in bytes.
    pub memory: u64,
    /// The source of RAM.
    pub ram: RamBackend,
    /// The processors. `From<u32>` gives that number of vCPUs the host's CPU model.
    pub cpu: CpuConfig,
    /// The guest image and its boot options.
    pub boot: Boot,
    /// The firmware at the reset vector.
    pub firmware: Option<Firmware>,
    /// The older interrupt and timer chips of a PC.
    pub chips: IsaChips,
    /// What the in-kernel PIT does with ticks that the guest has missed.
    pub lost_tick_policy: LostTickPolicy,
    /// Whether the guest gets ACPI tables. The ACPI registers always exist.
    pub acpi: bool,
    /// The machine's generation in the ACPI tables, as the 16 bytes that guests read.
    pub generation: Option<[u8; 16]>,
    /// Platform devices. The board attaches them in this order.
    pub devices: Vec<Box<dyn PlatformDevice>>,
    /// Virtio devices, in the order of their transports.
    pub virtio: Vec<Arc<dyn VirtioDevice>>,
}
