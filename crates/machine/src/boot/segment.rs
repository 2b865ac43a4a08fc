//! Segments of a kernel image: reserves their memory and copies them.

use super::Guest;
use crate::GuestImageProblem::{DoesNotFit, Malformed, Overlap};
use crate::{GuestImageError, SetupError};
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// A piece of an image and its physical address in guest memory. The bytes by which `memory_size` exceeds `file_size`
/// are zero, except those that another segment fills from the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub file_size: u64,
    pub address: u64,
    pub memory_size: u64,
    /// The address at which the kernel runs once it has enabled paging.
    pub virtual_address: u64,
}

impl Segment {
    /// Returns the range of this segment in guest memory, unless its end overflows.
    fn range(&self) -> Option<Range<u64>> {
        Some(self.address..self.address.checked_add(self.memory_size)?)
    }

    /// Returns the physical address of a virtual address in this segment.
    pub fn physical(&self, address: u64) -> Option<u64> {
        let offset = address.checked_sub(self.virtual_address).filter(|offset| *offset < self.memory_size)?;
        self.address.checked_add(offset)
    }
}

/// Sets a range of guest memory to zero. Reads each page first and skips a page of zeroes, so that it stays
/// unpopulated.
fn clear(range: Range<u64>, guest: &Guest<'_>) -> Result<(), SetupError> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let failed = |error: GuestMemoryError| guest.kernel.refuse(DoesNotFit, error.to_string());
    let ram = guest.ram;
    let mut at = range.start;
    let mut page = ZEROS;
    while at < range.end {
        guest.cancel.check()?;
        let len = (4096 - at % 4096).min(range.end - at);
        let page = &mut page[..usize::try_from(len).unwrap_or(0)];
        ram.read_slice(page, GuestAddress(at)).map_err(failed)?;
        if page.iter().any(|byte| *byte != 0) {
            ram.write_slice(&ZEROS[..page.len()], GuestAddress(at)).map_err(failed)?;
        }
        at += len;
    }
    Ok(())
}

impl Guest<'_> {
    /// Reserves the memory of the kernel's segments, and checks that `entry` is in one of them. A zero-filled tail may
    /// overlap segments at higher addresses.
    pub(super) fn place_kernel(&mut self, segments: &[Segment], entry: u64) -> Result<(), GuestImageError> {
        let (mut entered, mut filled, mut reserved) = (false, 0, 0);
        for segment in by_address(segments) {
            let Segment { address, memory_size, file_size, .. } = *segment;
            let does_not_fit = || {
                let ram = self.layout.size();
                let what =
                    format!("has {memory_size:#x} bytes at {address:#x}, outside the guest's {ram:#x} bytes of RAM");
                self.kernel.refuse(DoesNotFit, what)
            };
            let range = segment.range().ok_or_else(does_not_fit)?;
            entered |= range.contains(&entry);
            if address < filled {
                let what = format!(
                    "has {memory_size:#x} bytes at {address:#x}, which overlap another segment that ends at {filled:#x}"
                );
                return Err(self.kernel.refuse(Overlap, what));
            }
            filled = address + file_size;
            let rest = reserved.max(range.start)..range.end;
            reserved = reserved.max(range.end);
            // Nothing else is reserved before the kernel.
            if !rest.is_empty() && self.space.fixed(rest).is_err() {
                return Err(does_not_fit());
            }
        }
        if !entered {
            return Err(self
                .kernel
                .refuse(Malformed, format!("has its entry point at {entry:#x}, outside all segments")));
        }
        Ok(())
    }

    /// Copies placed segments from the kernel's image, and clears the bytes that the file does not fill: at a reset
    /// they hold what the guest wrote.
    pub(super) fn copy_kernel(&self, segments: &[Segment]) -> Result<(), SetupError> {
        let (mut filled, mut reserved) = (0, 0);
        for segment in by_address(segments) {
            let Segment { address, file_size, memory_size, .. } = *segment;
            clear(filled..reserved.min(address), self)?;
            self.kernel.copy_to(self.ram, segment.offset, file_size, address, self.cancel)?;
            filled = address + file_size;
            reserved = reserved.max(address + memory_size);
        }
        clear(filled..reserved, self)
    }
}

/// Sorts segments by address. At the same address, a segment without bytes in the file comes first.
fn by_address(segments: &[Segment]) -> Vec<&Segment> {
    let mut sorted: Vec<_> = segments.iter().collect();
    sorted.sort_by_key(|segment| (segment.address, segment.file_size));
    sorted
}
