//! The data that a boot protocol passes to the kernel, collected in one block of guest memory.

use super::Guest;
use super::placement::BOOT_DATA_FLOOR;
use crate::GuestImageError;
use crate::GuestImageProblem::DoesNotFit;
use crate::layout::PAGE_SIZE;
use vm_memory::{Bytes, GuestAddress};

/// The alignment of every piece in bytes.
const ALIGN: usize = 8;

/// A block of reserved guest memory, filled from its start.
pub(super) struct BootData {
    address: u64,
    bytes: Vec<u8>,
}

/// Returns the size of a piece of `len` bytes in the block.
pub(super) const fn piece(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// Returns the size of a string with its terminating NUL in the block.
pub(super) const fn string(text: &str) -> usize {
    piece(text.len() + 1)
}

impl BootData {
    /// Reserves `size` bytes, the sum of all pieces, page-aligned, at the lowest free address from [`BOOT_DATA_FLOOR`]
    /// on.
    pub fn reserve(guest: &mut Guest<'_>, size: usize) -> Result<Self, GuestImageError> {
        let address = guest.space.lowest(size as u64, PAGE_SIZE, BOOT_DATA_FLOOR).ok_or_else(|| {
            let what = format!("leaves no room for the {size} bytes of boot data that go with it");
            guest.kernel.refuse(DoesNotFit, what)
        })?;
        Ok(Self { address, bytes: Vec::with_capacity(size) })
    }

    /// Returns the address of the next piece.
    pub const fn next(&self) -> u64 {
        self.address + self.bytes.len() as u64
    }

    /// Appends a piece and returns its address.
    pub fn push(&mut self, bytes: &[u8]) -> u64 {
        let address = self.next();
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(piece(self.bytes.len()), 0);
        address
    }

    /// Appends a string and its NUL, and returns its address.
    pub fn push_string(&mut self, text: &str) -> u64 {
        self.push(&[text.as_bytes(), &[0]].concat())
    }

    /// Writes the block to guest memory.
    pub fn write(self, guest: &Guest<'_>) -> Result<(), GuestImageError> {
        let written = guest.ram.write_slice(&self.bytes, GuestAddress(self.address));
        written.map_err(|error| guest.kernel.refuse(DoesNotFit, error.to_string()))
    }
}
