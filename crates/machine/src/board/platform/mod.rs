//! Platform devices: devices at fixed ports or addresses, which a guest cannot probe for.
//!
//! Each device registers itself. The board uses it through [`PlatformDevice`] only and calls
//! [`PlatformDevice::attach`], in which the device takes its interrupt line and claims its ports from the [`Slot`]. To
//! add a device, implement [`PlatformDevice`] in a file here.
//!
//! Modules, independent of each other:
//!
//! - `serial`: serial ports.
//! - `rtc`: the CMOS clock.
//! - `hpet`: the HPET.
//! - `reset`: the ports by which a guest resets the machine.
//! - `fw_cfg`: fw_cfg with its files.
//! - `debug_console`: debug consoles.
//! - `debug_exit`: the port that ends the machine with a status.
//! - `pvpanic`: the port on which a guest reports its panic.
//! - `test_device`: the test devices of KVM's unit tests.

mod debug_console;
mod debug_exit;
mod fw_cfg;
mod hpet;
mod pvpanic;
mod reset;
mod rtc;
mod serial;
mod test_device;

pub use debug_console::DebugPort;
pub use fw_cfg::FwCfgFiles;
pub(super) use hpet::HpetDevice;
pub(super) use reset::ResetRegisters;
pub use serial::ComPort;
pub use test_device::TestDevices;

use super::BoardError;
use crate::acpi::PlatformEntry;
use crate::bus::{BusBuilder, BusDevice};
use crate::devices::{AcpiPm, InputDrained, Irq, SerialPort};
use crate::interrupts::Lines;
use crate::layout::RamLayout;
use kvm_accel::{EventSink, GuestRam};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A platform device that is not on the board yet.
pub trait PlatformDevice: Send {
    /// Returns the entry of this device in the ACPI tables. Without an entry, the guest must know the device's address.
    fn acpi_entry(&self) -> Option<PlatformEntry> {
        None
    }

    /// Creates the device on a board.
    ///
    /// # Errors
    /// Fails if the device's configuration is invalid, or with an error of the kernel.
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError>;
}

/// The calls that the board makes to an attached device. All other calls come from the bus.
pub trait Attached: Send + Sync {
    /// Resets the device to power-on.
    fn reset(&self) {}

    /// Writes the pending output that its reader takes at once, and reports lost output. Called when the machine ends.
    fn finish(&self) {}
}

/// Serial ports of a board, COM1 to COM4.
pub type SerialPorts = [Option<Arc<SerialPort>>; 4];

/// What a board offers to a device that is being attached.
pub struct Slot<'a> {
    pub(super) layout: &'a RamLayout,
    pub(super) ram: &'a GuestRam,
    pub(super) lines: &'a Lines,
    pub(super) cpus: u32,
    pub(super) pm: &'a Arc<AcpiPm>,
    /// Files that the board itself passes to firmware through fw_cfg.
    pub(super) firmware_files: Vec<(String, Vec<u8>)>,
    /// Receives warnings of the device.
    pub(super) sink: &'a Arc<dyn EventSink>,
    pub(super) input_drained: &'a dyn Fn(u32) -> InputDrained,
    /// The HPET has lines 0 and 8, so the CMOS clock does not interrupt.
    pub(super) replaced: Arc<AtomicBool>,
    pub(super) bus: BusBuilder,
    /// Interrupt lines that are in use.
    pub(super) used_lines: Vec<u8>,
    pub(super) attached: Vec<Arc<dyn Attached>>,
    pub(super) serial_ports: SerialPorts,
}

impl Slot<'_> {
    /// Claims `len` ports from `base` on. `owner` names the device in error messages.
    pub fn ports(&mut self, owner: &'static str, base: u16, len: u32, device: Arc<dyn BusDevice>) {
        self.bus = std::mem::take(&mut self.bus).ports(owner, base, len, device);
    }

    /// Claims `len` bytes of MMIO from `base` on.
    pub fn memory(&mut self, owner: &'static str, base: u64, len: u64, device: Arc<dyn BusDevice>) {
        self.bus = std::mem::take(&mut self.bus).memory(owner, base, len, device);
    }

    /// Returns an edge-triggered interrupt line.
    ///
    /// # Errors
    /// Fails with an error of the kernel.
    pub fn edge(&mut self, line: u8) -> kvm_accel::Result<Irq> {
        self.used_lines.push(line);
        self.lines.edge(line)
    }

    /// Registers a device for the board's calls. The board calls devices in the order of their registration.
    pub fn add_attached(&mut self, device: Arc<dyn Attached>) {
        self.attached.push(device);
    }
}
