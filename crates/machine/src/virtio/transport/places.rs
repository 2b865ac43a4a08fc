//! The addresses and interrupt lines of a machine's MMIO transports. The addresses are those of QEMU's microvm; no other
//! device uses the lines.
//!
//! If there are more transports than lines, transports share lines. A driver finds the transport that interrupts in its
//! register InterruptStatus. No interrupt is lost: each transport sends an edge of its own, and a controller that still has
//! the previous edge pending has not called the drivers yet.

use crate::MachineConfigError;
use kvm_accel::properties::KernelIrqchip;

/// Address of the first transport.
pub const BASE: u64 = 0xfeb0_0000;
/// Size of each transport in bytes.
pub const SIZE: u64 = 0x200;

/// The most transports of a machine.
const MOST: usize = 32;

/// The lines, in the order of their use. The PIC's lines come first: without an IOAPIC there are no others.
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
    /// Another transport has the same line.
    pub shared: bool,
}

/// Returns the addresses and lines of `count` transports.
///
/// # Errors
/// Fails if there are more than 32.
pub fn places(count: usize, irqchip: KernelIrqchip) -> Result<Vec<Place>, MachineConfigError> {
    if count > MOST {
        let message = format!("too many virtio devices: {count}, but the board has places for {MOST}");
        return Err(MachineConfigError::new("device", message, "Use fewer devices."));
    }
    let lines = if irqchip == KernelIrqchip::Off { &LINES[..PIC_LINES] } else { &LINES[..] };
    let place = |(index, (at, line)): (usize, (u64, &u8))| {
        let shared = index >= lines.len() || index + lines.len() < count;
        Place { base: BASE + at * SIZE, line: *line, shared }
    };
    Ok((0..).zip(lines.iter().cycle()).take(count).enumerate().map(place).collect())
}

/// Returns the words that describe the transports on Linux's command line, for guests without ACPI.
#[must_use]
pub fn command_line(places: &[Place]) -> String {
    let words = places.iter().map(|Place { base, line, .. }| format!("virtio_mmio.device={SIZE}@{base:#x}:{line}"));
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
    fn test_transports_share_lines_if_there_are_more_than_lines() {
        use std::collections::{BTreeMap, BTreeSet};
        for irqchip in [KernelIrqchip::On, KernelIrqchip::Split, KernelIrqchip::Off] {
            let lines = if irqchip == KernelIrqchip::Off { 8 } else { 16 };
            for count in 0..=32 {
                let places = places(count, irqchip).unwrap();
                let mut users = BTreeMap::new();
                places.iter().for_each(|place| *users.entry(place.line).or_insert(0) += 1);
                assert_eq!(users.len(), count.min(lines));
                assert!(places.iter().all(|place| place.shared == (users[&place.line] > 1)), "{count} {irqchip:?}");
                assert_eq!(places.iter().map(|place| place.base).collect::<BTreeSet<_>>().len(), count);
                assert!(irqchip != KernelIrqchip::Off || places.iter().all(|place| place.line < 16));
            }
            let error = places(33, irqchip).unwrap_err();
            assert!(
                error.to_string().contains("too many virtio devices: 33, but the board has places for 32"),
                "{error}"
            );
        }
    }
}
