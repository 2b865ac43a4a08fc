//! QEMU's `pvpanic`.

use super::{PlatformDevice, Slot};
use crate::acpi::{HardwareId, PlatformEntry};
use crate::board::BoardError;
use crate::devices::{PVPANIC_PORT, Pvpanic};
use std::sync::Arc;

impl PlatformDevice for Pvpanic {
    fn acpi_entry(&self) -> Option<PlatformEntry> {
        Some(PlatformEntry { name: "PEVT", id: HardwareId::Acpi("QEMU0001"), ports: (PVPANIC_PORT, 1), line: None })
    }

    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        slot.ports("pvpanic", PVPANIC_PORT, 1, Arc::new(*self));
        Ok(())
    }
}
