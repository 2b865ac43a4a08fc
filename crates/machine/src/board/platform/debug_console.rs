//! QEMU's `isa-debugcon`.

use super::{Attached, PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::{DebugConsole, SerialOutput};
use std::sync::Arc;

/// A debug console: the bytes that a guest, usually its firmware, writes to `port` go to `output`.
pub struct DebugPort {
    /// The I/O port.
    pub port: u16,
    /// The destination of the bytes.
    pub output: SerialOutput,
}

impl PlatformDevice for DebugPort {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let mut output = self.output;
        output.report_losses("the debug console", slot.sink);
        let console = Arc::new(DebugConsole::new(output));
        slot.ports("isa-debugcon", self.port, 1, Arc::clone(&console) as _);
        slot.add_attached(console);
        Ok(())
    }
}

impl Attached for DebugConsole {
    fn finish(&self) {
        Self::finish(self);
    }
}
