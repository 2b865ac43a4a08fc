//! Segments of a kernel image: reserves their memory and copies them.

use super::Guest;
use super::placement::Conflict;
use crate::GuestImageProblem::{DoesNotFit, Malformed, Overlap};
use crate::{GuestImageError, SetupError};
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// A piece of an image and its address in guest memory. The bytes by which `memory_size` exceeds `file_size` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub file_size: u64,
    pub address: u64,
    pub memory_size: u64,
}

impl Segment {
    /// Returns the range of this segment in guest memory, unless its end overflows.
    fn range(&self) -> Option<Range<u64>> {
        Some(self.address..self.address.checked_add(self.memory_size)?)
    }

    /// Sets the bytes that the file does not fill to zero. Reads each page first and skips a page of zeroes, so that it
    /// stays unpopulated.
    fn clear_rest(&self, guest: &Guest<'_>) -> Result<(), SetupError> {
        const ZEROS: [u8; 4096] = [0; 4096];
        let failed = |error: GuestMemoryError| guest.kernel.refuse(DoesNotFit, error.to_string());
        let ram = guest.ram;
        let end = self.address + self.memory_size;
        let mut at = self.address + self.file_size;
        let mut page = ZEROS;
        while at < end {
            guest.cancel.check()?;
            let len = (4096 - at % 4096).min(end - at);
            let page = &mut page[..usize::try_from(len).unwrap_or(0)];
            ram.read_slice(page, GuestAddress(at)).map_err(failed)?;
            if page.iter().any(|byte| *byte != 0) {
                ram.write_slice(&ZEROS[..page.len()], GuestAddress(at)).map_err(failed)?;
            }
            at += len;
        }
        Ok(())
    }
}

impl Guest<'_> {
    /// Reserves the memory of the kernel's segments, and checks that `entry` is in one of them.
    pub(super) fn place_kernel(&mut self, segments: &[Segment], entry: u64) -> Result<(), GuestImageError> {
        let mut entered = false;
        for segment in segments {
            let Segment { address, memory_size, .. } = *segment;
            let does_not_fit = || {
                let ram = self.layout.size();
                let what = format!(
                    "has {memory_size:#x} bytes at {address:#x}, where the guest has no RAM ({ram:#x} bytes in all)"
                );
                self.kernel.refuse(DoesNotFit, what)
            };
            let range = segment.range().ok_or_else(does_not_fit)?;
            entered |= range.contains(&entry);
            match self.space.fixed(range) {
                Ok(()) => {}
                Err(Conflict::NoRam) => return Err(does_not_fit()),
                Err(Conflict::Taken(other)) => {
                    let what =
                        format!("has {memory_size:#x} bytes at {address:#x}, where another segment lies ({other:#x?})");
                    return Err(self.kernel.refuse(Overlap, what));
                }
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
        for segment in segments {
            self.kernel.copy_to(self.ram, segment.offset, segment.file_size, segment.address, self.cancel)?;
            segment.clear_rest(self)?;
        }
        Ok(())
    }
}
