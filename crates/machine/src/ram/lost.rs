//! RAM that the host has lost. KVM reports the loss in several ways. One of them is an MMIO exit at an address of RAM.

use crate::MachineConfigError;
use crate::bus::BusDevice;
use kvm_accel::{GuestRam, Request};

/// Claims RAM on the memory bus. An access gets here only if KVM could not complete it: the page is lost, which stops
/// the machine, or the guest writes to read-only memory, which has no effect.
pub struct LostRam {
    ram: GuestRam,
    start: u64,
}

impl LostRam {
    pub const fn new(ram: GuestRam, start: u64) -> Self {
        Self { ram, start }
    }
}

impl BusDevice for LostRam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.ram.reach(self.start + offset);
        data.fill(0xff);
    }

    fn write(&self, offset: u64, _: &[u8]) -> Option<Request> {
        self.ram.reach(self.start + offset);
        None
    }
}

/// Returns an error if a part of RAM is lost.
pub fn check(ram: &GuestRam) -> Result<(), MachineConfigError> {
    ram.find_loss().map_or(Ok(()), |loss| {
        Err(MachineConfigError::new(
            "memory",
            loss.to_string(),
            "Create a new machine, and do not truncate its memory file.",
        ))
    })
}
