//! Registers the writes that the kernel handles without an exit to user space: coalesced ranges and ioeventfds.

use super::{BusDevice, Claim, Doorbell, MachineBus};
use kvm_accel::Request;
use kvm_accel::io::{Io, IoAddress, Ioeventfd};
use std::ops::Range;
use std::sync::Arc;

impl MachineBus {
    /// Registers the coalesced ranges and the doorbells of all devices on the bus. Call it before the vCPUs exist.
    ///
    /// # Errors
    /// Fails if the kernel refuses a doorbell. If the kernel refuses a coalesced range, its writes only become slower.
    pub fn accelerate(&mut self, io: &Io) -> kvm_accel::Result<()> {
        let ports = |address| u16::try_from(address).ok().map(IoAddress::Pio);
        for claim in &mut self.ports.fixed.0 {
            claim.accelerate(io, ports)?;
        }
        for claim in &mut self.memory.fixed.0 {
            claim.accelerate(io, |address| Some(IoAddress::Mmio(address)))?;
        }
        Ok(())
    }
}

impl Claim {
    fn accelerate(&mut self, io: &Io, at: impl Fn(u64) -> Option<IoAddress>) -> kvm_accel::Result<()> {
        for Doorbell { offset, written, event } in self.device.ioeventfds() {
            if let Some(address) = self.start.checked_add(*offset).and_then(&at) {
                io.assign(&Ioeventfd { address, written: *written, event: Arc::clone(event) })?;
            }
        }
        let coalesce = |range: &Range<u64>| {
            // A range that reaches beyond the claim would coalesce a neighbour's writes.
            let len = range.end.checked_sub(range.start).filter(|_| range.end <= self.len)?;
            let start = at(self.start + range.start)?;
            io.coalesce(start, u32::try_from(len).ok()?).ok()
        };
        if self.device.coalesced().iter().filter_map(coalesce).count() > 0 {
            self.device = Arc::new(Drained { device: Arc::clone(&self.device), io: io.clone() });
        }
        Ok(())
    }
}

/// A device with coalesced writes. The ring is drained before any other access to the device.
struct Drained {
    device: Arc<dyn BusDevice>,
    io: Io,
}

impl BusDevice for Drained {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.io.drain();
        self.device.read(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        self.io.drain();
        self.device.write(offset, data).or_else(|| self.io.take_request())
    }

    fn interrupt(&self) {
        self.device.interrupt();
    }

    fn resume(&self) {
        self.device.resume();
    }

    fn asleep(&self) -> bool {
        self.device.asleep()
    }

    fn on_wake(&self, wake: &Arc<dyn Fn() + Send + Sync>) {
        self.device.on_wake(wake);
    }

    fn complete(&self) {
        self.device.complete();
    }
}
