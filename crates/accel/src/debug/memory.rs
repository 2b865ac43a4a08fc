//! The guest's memory as a debugger sees it: linear addresses, translated through a vCPU's page tables (KVM_TRANSLATE).
//! RAM only.

use super::breakpoints::ByteMemory;
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_memory::GuestRam;
use vm_memory::{Bytes, GuestAddress};

const PAGE: u64 = 4096;

/// RAM at linear addresses of one vCPU.
pub struct LinearMemory<'a> {
    pub vcpu: &'a Vcpu,
    pub ram: &'a GuestRam,
}

impl LinearMemory<'_> {
    /// Calls `access` for each piece within one page, with its offset in RAM and its offset in the whole range. The
    /// error is the first linear address that is unreachable.
    pub fn pieces(
        &self,
        address: u64,
        length: usize,
        access: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
    ) -> Result<(), u64> {
        by_pages(address, length, |linear| self.vcpu.translate(linear), access)
    }
}

impl ByteMemory for LinearMemory<'_> {
    fn read(&mut self, address: u64) -> Option<u8> {
        self.ram.read_obj(GuestAddress(self.vcpu.translate(address)?)).ok()
    }

    fn write(&mut self, address: u64, byte: u8) -> bool {
        self.vcpu.translate(address).is_some_and(|physical| self.ram.write_obj(byte, GuestAddress(physical)).is_ok())
    }
}

/// Like [`LinearMemory::pieces`], at guest physical addresses.
pub fn physical(
    address: u64,
    length: usize,
    access: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
) -> Result<(), u64> {
    by_pages(address, length, Some, access)
}

/// RAM begins and ends at page boundaries, so the address of an unreachable piece is the first unreachable one.
fn by_pages(
    address: u64,
    length: usize,
    translate: impl Fn(u64) -> Option<u64>,
    mut access: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
) -> Result<(), u64> {
    let mut done = 0;
    while done < length {
        let at = address.wrapping_add(u64::try_from(done).unwrap_or(u64::MAX));
        let left = usize::try_from(PAGE - at % PAGE).unwrap_or(usize::MAX);
        let piece = done..length.min(done.saturating_add(left));
        let physical = translate(at).ok_or(at)?;
        done = piece.end;
        if !access(GuestAddress(physical), piece) {
            return Err(at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unreachable_physical_address_is_the_error() {
        let mut pieces = Vec::new();
        let result = physical(0x1ffe, 0x2003, |at, piece| {
            pieces.push((at.0, piece));
            at.0 < 0x3000
        });
        assert_eq!(result, Err(0x3000));
        assert_eq!(pieces, [(0x1ffe, 0..2), (0x2000, 2..0x1002), (0x3000, 0x1002..0x2002)]);
    }
}
