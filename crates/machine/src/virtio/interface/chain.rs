//! A descriptor chain, and the bytes of its two parts.

use super::DriverError;
use kvm_accel::GuestRam;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// A descriptor chain: device-readable buffers followed by device-writable buffers. A chain ends as the driver's flags specify, is not
/// longer than its queue, has no empty buffer, and holds less than 4 GiB. The descriptors are read from guest memory once, so the driver
/// cannot change them afterwards.
#[derive(Clone, Debug)]
pub struct Chain {
    head: u16,
    ram: GuestRam,
    descriptors: Descriptors,
    /// Number of device-readable descriptors, which come first.
    readable: usize,
}

/// Descriptors that a chain stores without an allocation. A disk request usually has three.
const INLINE: usize = 4;

/// The descriptors of a chain.
#[derive(Clone, Debug, Default)]
struct Descriptors {
    first: [Descriptor; INLINE],
    /// Number of valid elements in `first`.
    inline: usize,
    /// The descriptors after those in `first`.
    more: Vec<Descriptor>,
}

impl Descriptors {
    const fn len(&self) -> usize {
        self.inline + self.more.len()
    }

    fn push(&mut self, descriptor: Descriptor) {
        match self.first.get_mut(self.inline) {
            Some(place) => {
                *place = descriptor;
                self.inline += 1;
            }
            None => self.more.push(descriptor),
        }
    }

    fn get(&self, index: usize) -> Option<&Descriptor> {
        match index.checked_sub(INLINE) {
            Some(index) => self.more.get(index),
            None => self.first.get(index).filter(|_| index < self.inline),
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &Descriptor> {
        self.first.iter().take(self.inline).chain(&self.more)
    }
}

impl Chain {
    /// Reads all descriptors. A chain has at most `longest` descriptors, wherever they are: an indirect table may be larger, but the
    /// chain in it may not be longer (section 2.7.5.3.1).
    pub(super) fn new(chain: DescriptorChain<GuestRam>, ram: GuestRam, longest: u16) -> Result<Self, DriverError> {
        let head = chain.head_index();
        let mut descriptors = Descriptors::default();
        let mut readable = 0;
        for descriptor in chain {
            if descriptors.len() == usize::from(longest) {
                return refuse(format_args!("has more than {longest} descriptors, the size of its queue"));
            }
            if descriptor.len() == 0 {
                return refuse("has a buffer of 0 bytes");
            }
            if !descriptor.is_write_only() {
                if readable < descriptors.len() {
                    return refuse("has a readable buffer after a writable one");
                }
                readable += 1;
            }
            descriptors.push(descriptor);
        }
        // If the driver breaks a rule, the library ends the chain early without an error.
        if descriptors.iter().next_back().is_none_or(Descriptor::has_next) {
            return refuse("has 4 GiB or more, is a loop, or leaves its table");
        }
        let this = Self { head, ram, descriptors, readable };
        #[cfg(any(test, feature = "testing"))]
        super::testing::count_chain(this.descriptors.len());
        Ok(this)
    }

    /// Returns the head, which identifies the chain in the used ring.
    #[must_use]
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// Returns a reader of the device-readable part.
    ///
    /// # Errors
    /// When the part is not in RAM.
    pub fn reader(&self) -> Result<ChainReader<'_>, DriverError> {
        Ok(ChainReader(self.part(0..self.readable)?))
    }

    /// Returns a writer of the device-writable part.
    ///
    /// # Errors
    /// When the part is not in RAM.
    pub fn writer(&self) -> Result<ChainWriter<'_>, DriverError> {
        Ok(ChainWriter(self.part(self.readable..self.descriptors.len())?))
    }

    /// Returns the length of the device-writable part in bytes.
    #[must_use]
    pub fn writable_bytes(&self) -> usize {
        total(self.descriptors.iter().skip(self.readable))
    }

    /// Returns the descriptors, with indirect ones resolved. Their addresses are not validated.
    pub fn descriptors(&self) -> impl ExactSizeIterator<Item = Descriptor> {
        let get = |index| self.descriptors.get(index).copied().unwrap_or_default();
        (0..self.descriptors.len()).map(get)
    }

    /// Returns the part with these descriptors, after a check that all of it is in RAM.
    fn part(&self, descriptors: Range<usize>) -> Result<Part<'_>, DriverError> {
        let part = || self.descriptors.iter().take(descriptors.end).skip(descriptors.start);
        for descriptor in part() {
            if !self.ram.check_range(descriptor.addr(), length(descriptor)) {
                return refuse(format_args!("has a buffer outside RAM, at {:#x}", descriptor.addr().0));
            }
        }
        Ok(Part { chain: self, next: descriptors.start, done: 0, left: total(part()) })
    }
}

fn refuse<T>(rule: impl fmt::Display) -> Result<T, DriverError> {
    Err(DriverError(format!("a descriptor chain {rule}")))
}

fn length(descriptor: &Descriptor) -> usize {
    usize::try_from(descriptor.len()).unwrap_or(usize::MAX)
}

fn total<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> usize {
    descriptors.map(length).sum()
}

/// The rest of a chain's readable or writable part.
#[derive(Clone, Debug)]
struct Part<'a> {
    chain: &'a Chain,
    /// Index of the next descriptor.
    next: usize,
    /// Bytes of that descriptor that are behind the position.
    done: usize,
    /// Bytes in front of the position.
    left: usize,
}

impl<'a> Part<'a> {
    /// Moves the position by at most `len` bytes, and calls `each` for the bytes of each buffer on the way, with their range from 0 to
    /// `len`. Returns by how much the position has moved.
    fn advance(
        &mut self,
        len: usize,
        mut each: impl FnMut(Range<usize>, GuestAddress) -> Result<(), vm_memory::GuestMemoryError>,
    ) -> io::Result<usize> {
        let len = len.min(self.left);
        let mut moved = 0;
        while moved < len {
            let Some(descriptor) = self.chain.descriptors.get(self.next) else { break };
            let rest = length(descriptor) - self.done;
            let piece = rest.min(len - moved);
            let address = descriptor.addr().0.saturating_add(self.done as u64);
            each(moved..moved + piece, GuestAddress(address)).map_err(io::Error::other)?;
            moved += piece;
            self.left -= piece;
            (self.next, self.done) = if piece == rest { (self.next + 1, 0) } else { (self.next, self.done + piece) };
        }
        Ok(moved)
    }

    fn split_at(&mut self, offset: usize) -> Result<Part<'a>, DriverError> {
        if offset > self.left {
            return refuse(format_args!("has {} bytes in place of at least {offset}", self.left));
        }
        let mut behind = self.clone();
        behind.advance(offset, |_, _| Ok(())).map_err(|error| DriverError(error.to_string()))?;
        self.left = offset;
        Ok(behind)
    }
}

/// Reads the device-readable part of a chain.
#[derive(Clone, Debug)]
pub struct ChainReader<'a>(Part<'a>);

impl ChainReader<'_> {
    /// Returns the number of bytes that are left.
    #[must_use]
    pub const fn available_bytes(&self) -> usize {
        self.0.left
    }

    /// Ends this reader `offset` bytes from here, and returns a reader of the bytes behind.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn split_at(&mut self, offset: usize) -> Result<Self, DriverError> {
        self.0.split_at(offset).map(Self)
    }
}

impl Read for ChainReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let ram = &self.0.chain.ram;
        let read = self.0.advance(bytes.len(), |range, address| ram.read_slice(&mut bytes[range], address));
        #[cfg(any(test, feature = "testing"))]
        super::testing::count_bytes(*read.as_ref().unwrap_or(&0));
        read
    }
}

/// Writes the device-writable part of a chain.
#[derive(Clone, Debug)]
pub struct ChainWriter<'a>(Part<'a>);

impl ChainWriter<'_> {
    /// Returns the number of bytes that are left.
    #[must_use]
    pub const fn available_bytes(&self) -> usize {
        self.0.left
    }

    /// Ends this writer `offset` bytes from here, and returns a writer of the bytes behind.
    ///
    /// # Errors
    /// When fewer bytes are left.
    pub fn split_at(&mut self, offset: usize) -> Result<Self, DriverError> {
        self.0.split_at(offset).map(Self)
    }
}

impl Write for ChainWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ram = &self.0.chain.ram;
        let written = self.0.advance(bytes.len(), |range, address| ram.write_slice(&bytes[range], address));
        #[cfg(any(test, feature = "testing"))]
        super::testing::count_bytes(*written.as_ref().unwrap_or(&0));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
