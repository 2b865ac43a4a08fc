//! RAM that the host has lost. KVM tells of it in several ways; one is an access to RAM that leaves the guest as if nothing were there.

use crate::MachineConfigError;
use crate::bus::BusDevice;
use kvm_accel::{GuestRam, Request};

/// Answers for RAM on the memory bus, where an access ends only when KVM could not carry it out: the page is lost, which stops the
/// machine, or the guest writes to read-only memory, which does nothing.
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

/// Refuses to go on with RAM of which a part is lost.
pub fn check(ram: &GuestRam) -> Result<(), MachineConfigError> {
    ram.find_loss().map_or(Ok(()), |loss| {
        Err(MachineConfigError::new("memory", loss.to_string(), "Make a new machine; leave its memory file alone."))
    })
}
