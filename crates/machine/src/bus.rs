//! Who answers which port and which address.

use crate::MachineConfigError;
use kvm_accel::{Bus, Request};
use std::fmt;
use std::sync::Arc;

/// A device as the bus sees it: registers at offsets from wherever it was placed.
///
/// Called on vCPU threads, concurrently. An access never crosses the end of the device's claim; its length is
/// 1, 2, 4 or 8 bytes.
pub trait BusDevice: Send + Sync {
    /// Fills `data` with what the registers at `offset` hold.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Stores `data` to the registers at `offset`, and says what that asks of the whole machine.
    fn write(&self, offset: u64, data: &[u8]) -> Option<Request>;
    /// From now on no access waits, and one that does returns; see [`Bus::interrupt`]. For devices that can wait.
    fn interrupt(&self) {}
    /// Accesses may wait again.
    fn resume(&self) {}
}

/// The machine's ports and MMIO addresses. Immutable, so the exit path looks up without a lock.
#[derive(Debug)]
pub struct MachineBus {
    ports: Claims,
    memory: Claims,
}

impl Bus for MachineBus {
    fn pio_read(&self, port: u16, data: &mut [u8]) {
        self.ports.read(port.into(), data);
    }

    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
        self.ports.write(port.into(), data)
    }

    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        self.memory.read(addr, data);
    }

    fn mmio_write(&self, addr: u64, data: &[u8]) -> Option<Request> {
        self.memory.write(addr, data)
    }

    fn interrupt(&self) {
        self.devices().for_each(BusDevice::interrupt);
    }

    fn resume(&self) {
        self.devices().for_each(BusDevice::resume);
    }
}

impl MachineBus {
    fn devices(&self) -> impl Iterator<Item = &dyn BusDevice> {
        self.ports.0.iter().chain(&self.memory.0).map(|claim| claim.device.as_ref())
    }
}

/// Collects the claims of a machine's devices.
#[derive(Debug, Default)]
pub struct BusBuilder {
    ports: Vec<Claim>,
    memory: Vec<Claim>,
}

impl BusBuilder {
    /// A bus on which nobody answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims `len` ports from `base` on; `owner` is the device's name in error messages.
    #[must_use]
    pub fn ports(mut self, owner: &'static str, base: u16, len: u32, device: Arc<dyn BusDevice>) -> Self {
        self.ports.push(Claim { owner, start: base.into(), len: len.into(), device });
        self
    }

    /// Claims `len` bytes of MMIO from `base` on.
    #[must_use]
    pub fn memory(mut self, owner: &'static str, base: u64, len: u64, device: Arc<dyn BusDevice>) -> Self {
        self.memory.push(Claim { owner, start: base, len, device });
        self
    }

    /// Puts the claims in order.
    ///
    /// # Errors
    /// When a claim is empty, ends beyond the address space (ports: 0xffff), or overlaps another one.
    pub fn build(self) -> Result<MachineBus, MachineConfigError> {
        Ok(MachineBus { ports: Claims::new(self.ports, u16::MAX.into())?, memory: Claims::new(self.memory, u64::MAX)? })
    }
}

struct Claim {
    owner: &'static str,
    start: u64,
    len: u64,
    device: Arc<dyn BusDevice>,
}

impl Claim {
    /// The last address. Claims are checked to be neither empty nor to overflow before this is asked.
    fn last(&self) -> u64 {
        self.start + (self.len - 1)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}, {:#x} long", self.owner, self.start, self.len)
    }
}

/// Claims sorted by address, without overlap.
#[derive(Debug)]
struct Claims(Vec<Claim>);

impl Claims {
    fn new(mut claims: Vec<Claim>, last_address: u64) -> Result<Self, MachineConfigError> {
        const REMEDY: &str = "Place the device elsewhere.";
        for claim in &claims {
            let room = last_address.checked_sub(claim.start);
            if claim.len == 0 || room.is_none_or(|room| claim.len - 1 > room) {
                let message = format!("{claim:?}, must end at {last_address:#x} at most and be at least 1 long");
                return Err(MachineConfigError::new("device", message, REMEDY));
            }
        }
        claims.sort_by_key(|claim| claim.start);
        for (a, b) in claims.iter().zip(claims.iter().skip(1)) {
            if b.start <= a.last() {
                return Err(MachineConfigError::new("device", format!("{b:?}, overlaps {a:?}"), REMEDY));
            }
        }
        Ok(Self(claims))
    }

    fn read(&self, address: u64, data: &mut [u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = address.wrapping_add(done as u64);
            let (owner, len) = self.piece(at, data.len() - done);
            let piece = &mut data[done..done + len];
            match owner {
                Some((device, offset)) => device.read(offset, piece),
                None => piece.fill(0xff),
            }
            done += len;
        }
    }

    fn write(&self, address: u64, data: &[u8]) -> Option<Request> {
        let mut request = None;
        let mut done = 0;
        while done < data.len() {
            let at = address.wrapping_add(done as u64);
            let (owner, len) = self.piece(at, data.len() - done);
            if let Some((device, offset)) = owner {
                request = request.or(device.write(offset, &data[done..done + len]));
            }
            done += len;
        }
        request
    }

    /// Who answers at `address`, and how much of an access of `len` bytes from there on.
    ///
    /// QEMU's rule: an access that crosses the end of a claim is carried out in pieces of 1, 2, 4 or 8 bytes, each by
    /// whoever owns it.
    fn piece(&self, address: u64, len: usize) -> (Option<(&dyn BusDevice, u64)>, usize) {
        let next = self.0.partition_point(|claim| claim.start <= address);
        if let Some(claim) = next.checked_sub(1).map(|index| &self.0[index])
            && address <= claim.last()
        {
            let room = claim.last() - address;
            let mut len = 1 << len.ilog2();
            while (len - 1) as u64 > room {
                len /= 2;
            }
            return (Some((claim.device.as_ref(), address - claim.start)), len);
        }
        let gap = self.0.get(next).map_or(u64::MAX, |claim| claim.start - address);
        (None, usize::try_from(gap).map_or(len, |gap| gap.min(len)))
    }
}
