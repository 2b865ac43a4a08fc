//! QEMU's `isa-debug-exit`.

use super::{PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::DebugExit;
use std::sync::Arc;

impl PlatformDevice for DebugExit {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        slot.ports("isa-debug-exit", self.iobase(), self.iosize(), Arc::new(*self));
        Ok(())
    }
}
