//! The guest's memory as a debugger sees it: linear addresses through a vCPU's page tables (KVM_TRANSLATE), RAM only.

use super::breakpoints::ByteMemory;
use crate::kvm::ram::GuestRam;
use crate::kvm::vcpu::Vcpu;
use vm_memory::{Bytes, GuestAddress};

const PAGE: u64 = 4096;

/// RAM at linear addresses of one vCPU.
pub struct LinearMemory<'a> {
    pub vcpu: &'a Vcpu,
    pub ram: &'a GuestRam,
}

impl LinearMemory<'_> {
    /// `access` for each piece within one page, with its place in RAM and its place in the whole. The error is the first linear
    /// address that cannot be reached.
    pub fn pieces(
        &self,
        address: u64,
        length: usize,
        mut access: impl FnMut(GuestAddress, std::ops::Range<usize>) -> bool,
    ) -> Result<(), u64> {
        let mut done = 0;
        while done < length {
            let linear = address.wrapping_add(u64::try_from(done).unwrap_or(u64::MAX));
            let left = usize::try_from(PAGE - linear % PAGE).unwrap_or(usize::MAX);
            let piece = done..length.min(done.saturating_add(left));
            let physical = self.vcpu.translate(linear).ok_or(linear)?;
            done = piece.end;
            if !access(GuestAddress(physical), piece) {
                return Err(linear);
            }
        }
        Ok(())
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

/// Like [`LinearMemory::pieces`] at guest physical addresses.
pub fn physical(
    address: u64,
    length: usize,
    access: impl FnOnce(GuestAddress, std::ops::Range<usize>) -> bool,
) -> Result<(), u64> {
    if access(GuestAddress(address), 0..length) { Ok(()) } else { Err(address) }
}
