//! The registers that reset a PC: the keyboard controller's and the chipset's.

use super::{Attached, PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::{I8042, I8042_COMMAND_PORT, I8042_DATA_PORT, I8042Commands, I8042Data, ResetPort};
use std::sync::Arc;

/// The registers that reset the machine. Every board has them.
pub struct ResetRegisters;

impl PlatformDevice for ResetRegisters {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let controller = Arc::new(I8042::default());
        slot.ports("i8042", I8042_DATA_PORT, 1, Arc::new(I8042Data(Arc::clone(&controller))));
        slot.ports("i8042", I8042_COMMAND_PORT, 1, Arc::new(I8042Commands(Arc::clone(&controller))));
        slot.add_attached(controller);
        for ((base, len), register) in
            [(ResetPort::CONTROL_A, ResetPort::control_a()), (ResetPort::RESET_CONTROL, ResetPort::reset_control())]
        {
            let register = Arc::new(register);
            slot.ports("reset register", base, len, Arc::clone(&register) as _);
            slot.add_attached(register);
        }
        Ok(())
    }
}

impl Attached for I8042 {
    fn reset(&self) {
        Self::reset(self);
    }
}

impl Attached for ResetPort {
    fn reset(&self) {
        Self::reset(self);
    }
}
