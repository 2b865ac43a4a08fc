//! The addresses and interrupt lines of a machine's MMIO transports. The addresses are those of QEMU's microvm; no other device uses the
//! lines.

use crate::MachineConfigError;
use kvm_accel::properties::KernelIrqchip;

/// Address of the first transport.
pub const BASE: u64 = 0xfeb0_0000;
/// Size of each transport in bytes.
pub const SIZE: u64 = 0x200;

/// The lines, in the order of their use. The PIC's lines come first: a guest without ACPI can use no others.
const LINES: [u8; 16] = [5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23];
/// Number of PIC lines in `LINES`.
const PIC_LINES: usize = 8;

/// The address and the line of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first address.
    pub base: u64,
    /// The interrupt line, edge-triggered.
    pub line: u8,
}

/// Returns the addresses and lines of `count` transports.
///
/// # Errors
/// When the machine has too few lines.
pub fn places(count: usize, irqchip: KernelIrqchip) -> Result<Vec<Place>, MachineConfigError> {
    let lines = if irqchip == KernelIrqchip::Off { PIC_LINES } else { LINES.len() };
    if count > lines {
        let message =
            format!("too many virtio devices: {count} need one interrupt line each, but the board has {lines}");
        return Err(MachineConfigError::new("device", message, "Use fewer devices."));
    }
    Ok((0..).zip(LINES).take(count).map(|(at, line)| Place { base: BASE + at * SIZE, line }).collect())
}

/// Returns the words that describe the transports on Linux's command line, for guests without ACPI.
#[must_use]
pub fn command_line(places: &[Place]) -> String {
    let words = places.iter().map(|Place { base, line }| format!("virtio_mmio.device={SIZE}@{base:#x}:{line}"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn test_places_are_apart_and_announced_as_linux_reads_them() {
        let two = places(2, KernelIrqchip::On).unwrap();
        let words = "virtio_mmio.device=512@0xfeb00000:5 virtio_mmio.device=512@0xfeb00200:6";
        assert_eq!(command_line(&two), words);
        assert_eq!(command_line(&[]), "");
    }

    #[test]
    fn test_there_are_as_many_places_as_lines() {
        assert_eq!(places(16, KernelIrqchip::Split).unwrap().len(), 16);
        assert!(places(17, KernelIrqchip::On).is_err());
        assert!(places(8, KernelIrqchip::Off).unwrap().iter().all(|place| place.line < 16));
        assert!(places(9, KernelIrqchip::Off).is_err());
    }
}
