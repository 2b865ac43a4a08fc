//! The data that a boot protocol passes to the kernel, collected in one block of guest memory.

use super::Guest;
use super::placement::BOOT_DATA_FLOOR;
use crate::GuestImageError;
use crate::GuestImageProblem::DoesNotFit;
use crate::layout::PAGE_SIZE;
use vm_memory::{Bytes, GuestAddress};

/// The alignment of every piece in bytes.
const ALIGN: usize = 8;

/// The size of the kernel's first stack in bytes.
const STACK_SIZE: u64 = 4096;

/// A block of reserved guest memory, filled from its start. The kernel's first stack follows it. The
/// protocols define no stack, but boot loaders leave one that works, and some kernels use it.
pub(super) struct BootData {
    address: u64,
    stack: u64,
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
    /// Reserves `size` bytes, the sum of all pieces, and the stack, page-aligned, at the lowest free address from
    /// [`BOOT_DATA_FLOOR`] on.
    pub fn reserve(guest: &mut Guest<'_>, size: usize) -> Result<Self, GuestImageError> {
        let whole = (size as u64).next_multiple_of(16) + STACK_SIZE;
        let address = guest.space.lowest(whole, PAGE_SIZE, BOOT_DATA_FLOOR).ok_or_else(|| {
            let what = format!("leaves no free RAM for its boot data, {size} bytes");
            guest.kernel.refuse(DoesNotFit, what)
        })?;
        Ok(Self { address, stack: address + whole, bytes: Vec::with_capacity(size) })
    }

    /// Returns the first value of the stack pointer, a multiple of 16.
    pub const fn stack(&self) -> u64 {
        self.stack
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
