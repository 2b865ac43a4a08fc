//! ELF headers, read with distrust: what passes here can be loaded without a further check.

use super::placement::Conflict;
use super::{BootImage, Guest};
use crate::GuestImageProblem::{DoesNotFit, Malformed, Overlap, Truncated, WrongClass};
use crate::{GuestImageError, SetupError};
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
const EM_386: u64 = 3;
const EM_X86_64: u64 = 62;
const LITTLE_ENDIAN: u8 = 1;

/// Kernels have fewer than ten program headers and some hundred bytes of notes. The limits bound what a file can make
/// this process do.
const MAX_PROGRAM_HEADERS: u64 = 64;
const MAX_NOTES_SIZE: u64 = 64 * 1024;

/// A note of this name and type holds the address of a kernel's PVH entry.
const XEN_NOTE: (&[u8], u32) = (b"Xen\0", 18);

/// The word size of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Elf32,
    Elf64,
}

impl Class {
    /// The class of the file that begins with `head`, if that is an ELF file at all.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x7f, b'E', b'L', b'F', 1, ..] => Some(Self::Elf32),
            [0x7f, b'E', b'L', b'F', 2, ..] => Some(Self::Elf64),
            _ => None,
        }
    }

    /// A little-endian field of which ELF64 has another place, and maybe another width, than ELF32. Both within `bytes`.
    fn field(self, bytes: &[u8], elf32: Range<usize>, elf64: Range<usize>) -> u64 {
        let place = match self {
            Self::Elf32 => elf32,
            Self::Elf64 => elf64,
        };
        bytes[place].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    const fn header_size(self) -> usize {
        match self {
            Self::Elf32 => 52,
            Self::Elf64 => 64,
        }
    }

    const fn program_header_size(self) -> usize {
        match self {
            Self::Elf32 => 32,
            Self::Elf64 => 56,
        }
    }
}

/// A piece of an image and its place in memory; `memory_size` exceeds `file_size` by what is to be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub file_size: u64,
    pub address: u64,
    pub memory_size: u64,
}

/// What matters of an ELF file.
#[derive(Debug)]
pub(super) struct Elf {
    pub class: Class,
    pub entry: u64,
    pub segments: Vec<Segment>,
    /// Where the file holds notes, each range no longer than [`MAX_NOTES_SIZE`].
    notes: Vec<Range<u64>>,
}

impl Elf {
    /// Reads the headers of `image`, which begins with `head`.
    pub fn parse(image: &BootImage, head: &[u8]) -> Result<Self, GuestImageError> {
        let class = Class::of(head).ok_or_else(|| image.refuse(WrongClass, "is not an ELF file for 32 or 64 bits"))?;
        if head.len() < class.header_size() {
            return Err(image.refuse(Truncated, "ends within its ELF header"));
        }
        let machine = class.field(head, 18..20, 18..20);
        let expected = [EM_386, EM_X86_64].contains(&machine);
        if head[5] != LITTLE_ENDIAN || !expected {
            return Err(image.refuse(WrongClass, "is an ELF file for another processor than x86"));
        }
        let entry = class.field(head, 24..28, 24..32);
        let table = class.field(head, 28..32, 32..40);
        let entry_size = class.field(head, 42..44, 54..56);
        let count = class.field(head, 44..46, 56..58);
        if entry_size != class.program_header_size() as u64 || table < class.header_size() as u64 {
            return Err(image.refuse(Malformed, "has program headers of a wrong size or place"));
        }
        if count > MAX_PROGRAM_HEADERS {
            return Err(image.refuse(Malformed, format!("has {count} program headers, more than 64")));
        }

        let mut elf = Self { class, entry, segments: Vec::new(), notes: Vec::new() };
        let len = image.len()?;
        let mut header = vec![0; class.program_header_size()];
        for index in 0..count {
            let end = table.checked_add((index + 1) * entry_size).filter(|end| *end <= len);
            let end = end.ok_or_else(|| image.refuse(Truncated, "ends within its program headers"))?;
            image.read_at(end - entry_size, &mut header)?;
            elf.add_program_header(image, len, &header)?;
        }
        if elf.segments.is_empty() {
            return Err(image.refuse(Malformed, "has no segment to load"));
        }
        Ok(elf)
    }

    fn add_program_header(&mut self, image: &BootImage, len: u64, header: &[u8]) -> Result<(), GuestImageError> {
        let kind = self.class.field(header, 0..4, 0..4);
        let segment = Segment {
            offset: self.class.field(header, 4..8, 8..16),
            address: self.class.field(header, 12..16, 24..32),
            file_size: self.class.field(header, 16..20, 32..40),
            memory_size: self.class.field(header, 20..24, 40..48),
        };
        if ![PT_LOAD, PT_NOTE].contains(&kind) {
            return Ok(());
        }
        let end = segment.offset.checked_add(segment.file_size).filter(|end| *end <= len);
        let end = end.ok_or_else(|| {
            let Segment { offset, file_size, .. } = segment;
            image.refuse(Truncated, format!("has {len} bytes, and a segment of {file_size} bytes at offset {offset}"))
        })?;
        if kind == PT_NOTE {
            if segment.file_size > MAX_NOTES_SIZE {
                return Err(image.refuse(Malformed, "has more than 64 KiB of notes in one segment"));
            }
            self.notes.push(segment.offset..end);
            return Ok(());
        }
        if segment.file_size > segment.memory_size {
            return Err(image.refuse(Malformed, "has a segment that is larger in the file than in memory"));
        }
        if segment.memory_size > 0 {
            self.segments.push(segment);
        }
        Ok(())
    }

    /// The physical address of the 32-bit PVH entry, if a note has it. All notes are checked; the first entry counts.
    pub fn pvh_entry(&self, image: &BootImage) -> Result<Option<u64>, GuestImageError> {
        let mut entry = None;
        for range in &self.notes {
            let mut notes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            image.read_at(range.start, &mut notes)?;
            let mut rest = notes.as_slice();
            while !rest.is_empty() {
                let malformed = || image.refuse(Malformed, "has a note that is longer than its segment");
                let (header, after) = rest.split_at_checked(12).ok_or_else(malformed)?;
                let [name_size, size, kind] = [0, 4, 8].map(|at| le32(&header[at..]));
                let (name, after) = split_padded(after, name_size).ok_or_else(malformed)?;
                let (value, after) = split_padded(after, size).ok_or_else(malformed)?;
                if (name, kind) == XEN_NOTE {
                    let address = value.get(..4).ok_or_else(|| {
                        image.refuse(Malformed, "has a PVH note that is too short for an address, 4 bytes")
                    })?;
                    entry.get_or_insert(le32(address).into());
                }
                rest = after;
            }
        }
        Ok(entry)
    }
}

/// Splits off `size` bytes and their padding to a multiple of 4, which the end may lack.
fn split_padded(bytes: &[u8], size: u32) -> Option<(&[u8], &[u8])> {
    let size = usize::try_from(size).ok()?;
    let value = bytes.get(..size)?;
    Some((value, bytes.get(size.next_multiple_of(4)..).unwrap_or_default()))
}

/// The little-endian number that `bytes`, at least 4, begins with.
pub(super) fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Segment {
    /// Its place in memory, once that is known not to overflow.
    fn range(&self) -> Option<Range<u64>> {
        Some(self.address..self.address.checked_add(self.memory_size)?)
    }

    /// Sets what the file does not fill to zero. Pages that are zero already are only looked at: they stay unpopulated.
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
    /// Takes the places that the kernel's segments ask for, and checks that `entry` is in one of them.
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

    /// Copies placed segments from the kernel's image, and clears what they have in memory only: after a reset it holds what the
    /// guest left there.
    pub(super) fn copy_kernel(&self, segments: &[Segment]) -> Result<(), SetupError> {
        for segment in segments {
            self.kernel.copy_to(self.ram, segment.offset, segment.file_size, segment.address, self.cancel)?;
            segment.clear_rest(self)?;
        }
        Ok(())
    }
}
