//! The serial ports, COM1 to COM4.

use super::{Attached, PlatformDevice, Slot};
use crate::MachineConfigError;
use crate::acpi::{HardwareId, PlatformEntry};
use crate::board::BoardError;
use crate::devices::{COM1_BASE, COM1_IRQ, COM1_PORTS, MORE_COM_PORTS, SerialOutput, SerialPort};
use std::sync::Arc;

/// A serial port.
pub struct ComPort {
    /// The index of the port: 0 is COM1.
    index: u32,
    base: u16,
    line: u8,
    output: SerialOutput,
}

impl ComPort {
    /// Creates the serial port with this index: 0 is COM1, 3 is COM4. Guest output goes to `output`.
    ///
    /// # Errors
    /// Fails if the index is above 3.
    pub fn new(index: u32, output: SerialOutput) -> Result<Self, MachineConfigError> {
        let mut places = [(COM1_BASE, COM1_IRQ)].into_iter().chain(MORE_COM_PORTS);
        let place = usize::try_from(index).ok().and_then(|index| places.nth(index));
        let (base, line) = place.ok_or_else(|| {
            let message = format!("COM{} does not exist", u64::from(index) + 1);
            MachineConfigError::new("serials", message, "A board has COM1 to COM4.")
        })?;
        Ok(Self { index, base, line, output })
    }
}

impl PlatformDevice for ComPort {
    fn acpi_entry(&self) -> Option<PlatformEntry> {
        let ports = (self.base, 8);
        Some(PlatformEntry { name: "COM", id: HardwareId::SERIAL_PORT, ports, line: Some(self.line) })
    }

    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let input_drained = (slot.input_drained)(self.index);
        let mut output = self.output;
        output.report_losses(format!("COM{}", u64::from(self.index) + 1), slot.sink);
        let port = Arc::new(SerialPort::new(slot.edge(self.line)?, output, Some(input_drained)));
        slot.ports("serial", self.base, COM1_PORTS, Arc::clone(&port) as _);
        slot.add_attached(Arc::clone(&port) as _);
        if let Some(place) = usize::try_from(self.index).ok().and_then(|index| slot.serial_ports.get_mut(index)) {
            *place = Some(port);
        }
        Ok(())
    }
}

impl Attached for SerialPort {
    fn reset(&self) {
        Self::reset(self);
    }

    fn finish(&self) {
        Self::finish(self);
    }
}
