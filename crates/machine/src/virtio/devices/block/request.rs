//! Parses a descriptor chain into a request. All values come from the guest; they are checked once, before anything is done.

use super::image::SECTOR;
use crate::virtio::interface::DriverError;
use crate::virtio::throttle::Direction;
use kvm_accel::GuestRam;
use kvm_accel::guest_io::{GuestRange, behind, total};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// The most sectors of a discard or write-zeroes request, as in QEMU: just below 2 GiB.
pub const MOST_SECTORS: u32 = i32::MAX.unsigned_abs() >> 9;

/// Bytes of a request's header: type, reserved word, first sector.
const HEADER: usize = 16;

/// Bytes of a discard or write-zeroes segment: first sector, number of sectors, flags.
const SEGMENT: usize = 16;

/// The only flag of a write-zeroes segment, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP: the host may free the sectors.
const UNMAP: u32 = 1;

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its address and length in guest memory.
    pub range: GuestRange,
    /// True if it is device-writable.
    pub writable: bool,
}

/// The status of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// VIRTIO_BLK_S_OK: done.
    Ok,
    /// VIRTIO_BLK_S_IOERR: the request failed or is invalid.
    IoError,
    /// VIRTIO_BLK_S_UNSUPP: the device does not support the request type.
    Unsupported,
}

impl Status {
    /// Returns the status byte for the guest.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::IoError => 1,
            Self::Unsupported => 2,
        }
    }
}

/// The operation of a request. Offsets and lengths are in bytes and within the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads from the disk into these ranges.
    Read { offset: u64, ranges: Vec<GuestRange> },
    /// Writes these ranges to the disk.
    Write { offset: u64, ranges: Vec<GuestRange> },
    /// Makes all writes that have completed before it durable.
    Flush,
    /// Discards the contents of a range.
    Discard { offset: u64, len: u64 },
    /// Fills a range with zeroes. With `unmap`, the image may free its space.
    WriteZeroes { offset: u64, len: u64, unmap: bool },
    /// Writes the serial number to these ranges.
    Id { ranges: Vec<GuestRange> },
    /// Completes the request with this status, without doing anything.
    Refuse(Status),
}

impl Action {
    /// Returns the direction and the number of bytes for the rate limits. As in QEMU, only reads and writes of data count.
    pub fn limited(&self) -> Option<(Direction, u64)> {
        match self {
            Self::Read { ranges, .. } => Some((Direction::Read, total(ranges))),
            Self::Write { ranges, .. } => Some((Direction::Write, total(ranges))),
            Self::WriteZeroes { len, .. } => Some((Direction::Write, *len)),
            Self::Flush | Self::Discard { .. } | Self::Id { .. } | Self::Refuse(_) => None,
        }
    }
}

/// A request, and the address of its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The operation.
    pub action: Action,
    /// The address of the status byte, the last byte of the device-writable part.
    pub status: GuestAddress,
}

/// The limits that requests are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the disk in sectors.
    pub sectors: u64,
    /// The guest must not change the disk.
    pub read_only: bool,
}

impl Request {
    /// Parses a chain. `input` is scratch memory. As in QEMU, these errors break the whole device: the header or the status byte is
    /// missing, or a descriptor is empty, outside RAM or out of order. Any other error only fails the request.
    ///
    /// # Errors
    /// [`DriverError`] for an error that breaks the whole device.
    pub fn read(
        chain: impl IntoIterator<Item = Descriptor>,
        input: &mut Vec<GuestRange>,
        ram: &GuestRam,
        limits: Limits,
    ) -> Result<Self, DriverError> {
        let mut output = split(chain, input, ram)?;
        let status = take_status(&mut output)?;
        let mut header = [0; HEADER];
        if gather(ram, input, &mut header) < HEADER {
            return Err(DriverError("a block request is shorter than its header".into()));
        }
        let [kind, _, _, _] = words(header);
        let sector = u64::from_le_bytes([
            header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15],
        ]);
        let input: Vec<_> = behind(input, HEADER as u64).collect();
        let action = match kind {
            VIRTIO_BLK_T_IN => match limits.range(sector, total(&output)) {
                Some(offset) => Action::Read { offset, ranges: output },
                None => Action::Refuse(Status::IoError),
            },
            VIRTIO_BLK_T_OUT => match limits.range(sector, total(&input)) {
                Some(offset) if !limits.read_only => Action::Write { offset, ranges: input },
                _ => Action::Refuse(Status::IoError),
            },
            VIRTIO_BLK_T_FLUSH => Action::Flush,
            VIRTIO_BLK_T_GET_ID => Action::Id { ranges: output },
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => limits.segment(kind, ram, &input),
            _ => Action::Refuse(Status::Unsupported),
        };
        Ok(Self { action, status })
    }
}

impl Limits {
    /// Returns the offset in bytes, if the range consists of whole sectors within the disk.
    fn range(self, sector: u64, len: u64) -> Option<u64> {
        let end = sector.checked_add(len / SECTOR)?;
        (len.is_multiple_of(SECTOR) && end <= self.sectors).then(|| sector.checked_mul(SECTOR))?
    }

    /// Parses a discard or write-zeroes request, which has a single segment.
    fn segment(self, kind: u32, ram: &GuestRam, input: &[GuestRange]) -> Action {
        let mut segment = [0; SEGMENT];
        if total(input) != SEGMENT as u64 || gather(ram, input, &mut segment) < SEGMENT || self.read_only {
            return Action::Refuse(Status::IoError);
        }
        let [low, high, sectors, flags] = words(segment);
        let discard = kind == VIRTIO_BLK_T_DISCARD;
        if flags & !UNMAP != 0 || (discard && flags != 0) {
            return Action::Refuse(Status::Unsupported);
        }
        let len = u64::from(sectors) * SECTOR;
        match self.range(u64::from(high) << 32 | u64::from(low), len) {
            Some(offset) if sectors <= MOST_SECTORS && discard => Action::Discard { offset, len },
            Some(offset) if sectors <= MOST_SECTORS => Action::WriteZeroes { offset, len, unmap: flags != 0 },
            _ => Action::Refuse(Status::IoError),
        }
    }
}

/// Fills `input` with the device-readable ranges, and returns the device-writable ranges.
fn split(
    chain: impl IntoIterator<Item = Descriptor>,
    input: &mut Vec<GuestRange>,
    ram: &GuestRam,
) -> Result<Vec<GuestRange>, DriverError> {
    let refuse = |what: &str| Err(DriverError(format!("a block request {what}")));
    input.clear();
    let mut output = Vec::new();
    for Descriptor { range, writable } in chain {
        let len = usize::try_from(range.len).unwrap_or(usize::MAX);
        if len == 0 {
            return refuse("has an empty descriptor");
        }
        if !ram.check_range(GuestAddress(range.address), len) {
            return refuse("has a descriptor outside RAM");
        }
        if !writable && !output.is_empty() {
            return refuse("has its descriptors in the wrong order");
        }
        if writable { output.push(range) } else { input.push(range) }
    }
    Ok(output)
}

/// Removes the last byte of the device-writable part, and returns its address.
fn take_status(output: &mut Vec<GuestRange>) -> Result<GuestAddress, DriverError> {
    let missing = || DriverError("a block request has no room for its status".into());
    let last = output.last_mut().ok_or_else(missing)?;
    last.len -= 1;
    let status = GuestAddress(last.address + u64::from(last.len));
    if last.len == 0 {
        output.pop();
    }
    Ok(status)
}

/// Copies the first bytes of these ranges into `bytes`. Returns the number of bytes copied.
fn gather(ram: &GuestRam, ranges: &[GuestRange], bytes: &mut [u8]) -> usize {
    let mut done = 0;
    for range in ranges {
        let rest = &mut bytes[done..];
        let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(rest.len());
        if ram.read_slice(&mut rest[..len], GuestAddress(range.address)).is_err() {
            break;
        }
        done += len;
    }
    done
}

fn words(bytes: [u8; 16]) -> [u32; 4] {
    std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| bytes[at * 4 + byte])))
}
