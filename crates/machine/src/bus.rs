//! Maps ports and addresses to the devices that answer them.

mod accelerate;

use crate::MachineConfigError;
use kvm_accel::io::Written;
use kvm_accel::{Bus, Request};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};
use vmm_sys_util::eventfd::EventFd;

/// A device as the bus sees it: registers at offsets from its base.
///
/// The methods are called on vCPU threads, concurrently. An access never crosses the end of the device's claim; its
/// length is 1, 2, 4 or 8 bytes.
pub trait BusDevice: Send + Sync {
    /// Reads the registers at `offset` into `data`.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Writes `data` to the registers at `offset`. Returns what this write requests of the whole machine.
    fn write(&self, offset: u64, data: &[u8]) -> Option<Request>;
    /// Returns the ranges of offsets whose writes the kernel may coalesce. Coalesced writes arrive in order and before
    /// any other access to this device, but not before accesses to another device. Meant for registers that the
    /// guest writes often and whose writes have no immediate effect.
    fn coalesced(&self) -> &[Range<u64>] {
        &[]
    }
    /// Returns the writes that signal an eventfd instead of calling [`BusDevice::write`], where the kernel supports
    /// that.
    fn ioeventfds(&self) -> &[Doorbell] {
        &[]
    }
    /// Interrupts accesses that wait, and prevents accesses from waiting until [`BusDevice::resume`]; see
    /// [`Bus::interrupt`]. Only devices whose accesses can wait need this.
    fn interrupt(&self) {}
    /// Allows accesses to wait again.
    fn resume(&self) {}
    /// Returns true while this device keeps the guest asleep; see [`Bus::asleep`].
    fn asleep(&self) -> bool {
        false
    }
    /// Registers the function to call when [`BusDevice::asleep`] has become false; see [`Bus::on_wake`].
    fn on_wake(&self, wake: &Arc<dyn Fn() + Send + Sync>) {
        let _ = wake;
    }
    /// Completes the calling thread's accesses that [`BusDevice::interrupt`] has interrupted; see [`Bus::complete`].
    fn complete(&self) {}
}

/// Writes to a device that signal an eventfd.
#[derive(Clone, Debug)]
pub struct Doorbell {
    /// Offset from the device's base.
    pub offset: u64,
    /// The writes that match.
    pub written: Written,
    /// The eventfd that they signal.
    pub event: Arc<EventFd>,
}

/// The machine's ports and MMIO addresses.
#[derive(Debug)]
pub struct MachineBus {
    ports: Space,
    memory: Space,
}

/// Which of the two address spaces a device is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSpace {
    /// Ports, 0 to 0xffff.
    Ports,
    /// Guest physical memory.
    Memory,
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

    fn asleep(&self) -> bool {
        self.devices().any(BusDevice::asleep)
    }

    fn on_wake(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.devices().for_each(|device| device.on_wake(&wake));
    }

    fn complete(&self) {
        self.devices().for_each(BusDevice::complete);
    }
}

impl MachineBus {
    /// Places a device on a bus that is already in use, without slowing the devices that [`BusBuilder`] placed. Call it
    /// while no vCPU accesses a device that was added this way: this waits for such an access to end.
    ///
    /// # Errors
    /// The same as [`BusBuilder::build`].
    pub fn add(
        &self,
        space: AddressSpace,
        owner: String,
        base: u64,
        len: u64,
        device: Arc<dyn BusDevice>,
    ) -> Result<(), MachineConfigError> {
        let claim = Claim { owner: owner.into(), start: base, len, device };
        match space {
            AddressSpace::Ports => self.ports.add(claim),
            AddressSpace::Memory => self.memory.add(claim),
        }
    }

    /// Returns the fixed devices. A device that is added later never needs these calls.
    fn devices(&self) -> impl Iterator<Item = &dyn BusDevice> {
        self.ports.fixed.0.iter().chain(&self.memory.fixed.0).map(|claim| claim.device.as_ref())
    }
}

/// Collects the claims of a machine's devices.
#[derive(Debug, Default)]
pub struct BusBuilder {
    ports: Vec<Claim>,
    memory: Vec<Claim>,
}

impl BusBuilder {
    /// Creates a bus without devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims `len` ports from `base` on. `owner` is the device's name in error messages.
    #[must_use]
    pub fn ports(mut self, owner: &'static str, base: u16, len: u32, device: Arc<dyn BusDevice>) -> Self {
        self.ports.push(Claim { owner: owner.into(), start: base.into(), len: len.into(), device });
        self
    }

    /// Claims `len` bytes of MMIO from `base` on.
    #[must_use]
    pub fn memory(mut self, owner: &'static str, base: u64, len: u64, device: Arc<dyn BusDevice>) -> Self {
        self.memory.push(Claim { owner: owner.into(), start: base, len, device });
        self
    }

    /// Sorts the claims and builds the bus.
    ///
    /// # Errors
    /// Fails if a claim is empty, ends beyond the address space (ports: 0xffff), or overlaps another claim.
    pub fn build(self) -> Result<MachineBus, MachineConfigError> {
        Ok(MachineBus { ports: Space::new(self.ports, u16::MAX.into())?, memory: Space::new(self.memory, u64::MAX)? })
    }
}

struct Claim {
    owner: Cow<'static, str>,
    start: u64,
    len: u64,
    device: Arc<dyn BusDevice>,
}

impl Claim {
    /// Returns the last address. `check` must have passed: it refuses a claim that is empty or that overflows.
    fn last(&self) -> u64 {
        self.start + (self.len - 1)
    }

    fn check(&self, last_address: u64) -> Result<(), MachineConfigError> {
        let room = last_address.checked_sub(self.start);
        if self.len == 0 || room.is_none_or(|room| self.len - 1 > room) {
            let message = format!(
                "{self:?}, has an invalid range: expected a length of at least 1 and an end at {last_address:#x} at most"
            );
            return Err(MachineConfigError::new("device", message, PLACE_ELSEWHERE));
        }
        Ok(())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.last() && other.start <= self.last()
    }

    fn refused(&self, other: &Self) -> MachineConfigError {
        MachineConfigError::new("device", format!("{self:?}, overlaps {other:?}"), PLACE_ELSEWHERE)
    }
}

const PLACE_ELSEWHERE: &str = "Choose another address range for the device.";

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}, {:#x} long", self.owner, self.start, self.len)
    }
}

/// One address space. The claims that the board was built with are immutable, so the exit path looks them up without a
/// lock. Claims that were added later are looked up only if no fixed claim matches.
#[derive(Debug)]
struct Space {
    fixed: Claims,
    added: RwLock<Claims>,
    last_address: u64,
}

impl Space {
    fn new(claims: Vec<Claim>, last_address: u64) -> Result<Self, MachineConfigError> {
        Ok(Self { fixed: Claims::new(claims, last_address)?, added: RwLock::default(), last_address })
    }

    fn add(&self, claim: Claim) -> Result<(), MachineConfigError> {
        claim.check(self.last_address)?;
        if let Some(other) = self.fixed.0.iter().find(|other| other.overlaps(&claim)) {
            return Err(claim.refused(other));
        }
        self.added.write().unwrap_or_else(PoisonError::into_inner).insert(claim)
    }

    fn read(&self, address: u64, data: &mut [u8]) {
        self.fixed.each_piece(address, data.len(), |owner, at, range| match owner {
            Some((device, offset)) => device.read(offset, &mut data[range]),
            None => self.read_added(at, &mut data[range]),
        });
    }

    fn write(&self, address: u64, data: &[u8]) -> Option<Request> {
        let mut request = None;
        self.fixed.each_piece(address, data.len(), |owner, at, range| {
            let asked = match owner {
                Some((device, offset)) => device.write(offset, &data[range]),
                None => self.write_added(at, &data[range]),
            };
            request = request.or(asked);
        });
        request
    }

    fn read_added(&self, address: u64, data: &mut [u8]) {
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        added.each_piece(address, data.len(), |owner, _, range| match owner {
            Some((device, offset)) => device.read(offset, &mut data[range]),
            None => data[range].fill(0xff),
        });
    }

    fn write_added(&self, address: u64, data: &[u8]) -> Option<Request> {
        let mut request = None;
        let added = self.added.read().unwrap_or_else(PoisonError::into_inner);
        added.each_piece(address, data.len(), |owner, _, range| {
            request = request.or(owner.and_then(|(device, offset)| device.write(offset, &data[range])));
        });
        request
    }
}

/// Claims sorted by address, without overlap.
#[derive(Debug, Default)]
struct Claims(Vec<Claim>);

/// A device and an offset from its base.
type Owner<'a> = Option<(&'a dyn BusDevice, u64)>;

impl Claims {
    fn new(claims: Vec<Claim>, last_address: u64) -> Result<Self, MachineConfigError> {
        let mut this = Self::default();
        for claim in claims {
            claim.check(last_address)?;
            this.insert(claim)?;
        }
        Ok(this)
    }

    fn insert(&mut self, claim: Claim) -> Result<(), MachineConfigError> {
        let next = self.0.partition_point(|other| other.start <= claim.start);
        let around = next.saturating_sub(1)..(next + 1).min(self.0.len());
        match self.0[around].iter().find(|other| other.overlaps(&claim)) {
            Some(other) => Err(claim.refused(other)),
            None => {
                self.0.insert(next, claim);
                Ok(())
            }
        }
    }

    /// Splits an access into pieces. Calls `access` for each with the owner (`None` in a gap), the address, and the
    /// range of bytes.
    fn each_piece(&self, address: u64, len: usize, mut access: impl FnMut(Owner<'_>, u64, Range<usize>)) {
        let mut done = 0;
        while done < len {
            let at = address.wrapping_add(done as u64);
            let (owner, piece) = self.piece(at, len - done);
            access(owner, at, done..done + piece);
            done += piece;
        }
    }

    /// Returns the owner of `address`, and how many of the access's `len` bytes from there on belong to the piece.
    ///
    /// Follows QEMU: an access that crosses the end of a claim is split into pieces of 1, 2, 4 or 8 bytes, each for its
    /// own owner.
    fn piece(&self, address: u64, len: usize) -> (Owner<'_>, usize) {
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
