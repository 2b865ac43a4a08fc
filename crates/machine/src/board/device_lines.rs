//! The interrupt lines of devices that another thread implements.

use crate::MachineConfigError;
use crate::devices::SetLine;
use crate::interrupts::Lines;
use kvm_accel::properties::KernelIrqchip;
use serde::{Deserialize, Serialize};
use vm_superio::Trigger;

/// Lines that no added device can have: the PIT's, the cascade of the second PIC, and ACPI's.
const RESERVED: [u8; 3] = [0, 2, 9];
/// Number of lines of the two PICs.
const PIC_LINES: u8 = 16;
/// Number of pins of the IOAPIC.
const IOAPIC_LINES: u8 = 24;

/// The interrupt line of an added device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIrq {
    /// The line, 0 to 15 of the PIC, or pin 16 to 23 of an IOAPIC.
    pub line: u8,
    /// True for a line that keeps its level until the device lowers it, false for edges.
    pub level: bool,
}

/// The lines that are in use, and their number.
pub struct DeviceLines {
    used: Vec<u8>,
    count: u8,
}

impl DeviceLines {
    /// Creates the record. `used` has the lines of the board's own devices.
    #[must_use]
    pub fn new(used: Vec<u8>, irqchip: KernelIrqchip) -> Self {
        let count = if irqchip == KernelIrqchip::Off { PIC_LINES } else { IOAPIC_LINES };
        Self { used, count }
    }

    /// Returns the function that drives a line for `owner`.
    ///
    /// # Errors
    /// When the line does not exist or is in use, or when the host has no descriptor for it.
    pub fn open(&self, owner: &str, irq: DeviceIrq, lines: &Lines) -> Result<SetLine, MachineConfigError> {
        let DeviceIrq { line, level } = irq;
        let is_free = |line: &u8| !RESERVED.contains(line) && !self.used.contains(line);
        if line >= self.count || !is_free(&line) {
            let why = if line >= self.count { "does not exist" } else { "belongs to another device" };
            let free: Vec<_> = (0..self.count).filter(is_free).map(|line| line.to_string()).collect();
            let message = format!(
                "device '{owner}' cannot have interrupt line {line}: the line {why}. Free lines are {}",
                free.join(", ")
            );
            return Err(MachineConfigError::new("device", message, "Use a free line."));
        }
        if level {
            let set = lines.levels();
            return Ok(Box::new(move |high| set(line, high)));
        }
        let edge = lines.edge(line).map_err(|error| {
            let message = format!("device '{owner}' cannot have interrupt line {line}: {error}");
            MachineConfigError::new("device", message, "Raise the limit on open files (ulimit -n).")
        })?;
        Ok(Box::new(move |high| {
            if high {
                let Ok(()) = edge.trigger();
            }
        }))
    }

    /// Records that a line is in use.
    pub fn take(&mut self, irq: DeviceIrq) {
        self.used.push(irq.line);
    }
}
