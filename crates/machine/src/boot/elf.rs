//! Reads ELF headers, which are not trusted: an [`Elf`] that this file returns can be loaded without further checks.
//!
//! The crate `object` defines the structures. Its readers need the whole image in memory, so this file reads the
//! headers one by one, checks their offsets against the file, and limits their number and size.

use super::BootImage;
use super::segment::Segment;
use crate::GuestImageError;
use crate::GuestImageProblem::{Malformed, Truncated, WrongClass};
use object::LittleEndian;
use object::elf::{
    ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_386, EM_X86_64, FileHeader32, FileHeader64, NoteType, PT_LOAD,
    PT_NOTE,
};
use object::pod::from_bytes;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};
use std::ops::Range;

/// Kernels have fewer than ten program headers and some hundred bytes of notes. The limits bound the work that a file
/// can cause.
const MAX_PROGRAM_HEADERS: u16 = 64;
const MAX_NOTES_SIZE: u64 = 64 * 1024;

/// The name and type of the note that holds the address of a kernel's PVH entry.
const XEN_NOTE: (&[u8], NoteType) = (b"Xen\0", NoteType(18));
/// The alignments of notes. The ELF specification requires 8 bytes in ELF64, and almost all tools use 4. The alignment
/// that a segment declares proves neither: linkers merge notes of both kinds.
const NOTE_ALIGNMENTS: [u64; 2] = [4, 8];

/// The word size of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Elf32,
    Elf64,
}

impl Class {
    /// Returns the class of the file that begins with `head`, if it is an ELF file.
    pub fn of(head: &[u8]) -> Option<Self> {
        match *head.strip_prefix(&ELFMAG)?.first()? {
            class if class == ELFCLASS32.0 => Some(Self::Elf32),
            class if class == ELFCLASS64.0 => Some(Self::Elf64),
            _ => None,
        }
    }
}

/// The parts of an ELF file that loading it needs.
#[derive(Debug)]
pub(super) struct Elf {
    /// The physical address of the entry point.
    pub entry: u64,
    pub segments: Vec<Segment>,
    /// The ranges of the file that hold notes, each no longer than [`MAX_NOTES_SIZE`].
    notes: Vec<Range<u64>>,
}

impl Elf {
    /// Reads the headers of `image`, which begins with `head`.
    pub fn parse(image: &BootImage, head: &[u8]) -> Result<Self, GuestImageError> {
        match Class::of(head) {
            Some(Class::Elf32) => Self::read::<FileHeader32<LittleEndian>>(image, head),
            Some(Class::Elf64) => Self::read::<FileHeader64<LittleEndian>>(image, head),
            None => Err(image.refuse(WrongClass, "is not an ELF file for 32 or 64 bits")),
        }
    }

    fn read<H: FileHeader<Endian = LittleEndian>>(image: &BootImage, head: &[u8]) -> Result<Self, GuestImageError> {
        let (header, _) = from_bytes::<H>(head).map_err(|()| image.refuse(Truncated, "ends within its ELF header"))?;
        let x86 = [EM_386, EM_X86_64].contains(&header.e_machine(LittleEndian));
        if header.e_ident().data != ELFDATA2LSB || !x86 {
            return Err(image.refuse(WrongClass, "is an ELF file for another processor than x86"));
        }
        let table: u64 = header.e_phoff(LittleEndian).into();
        let entry_size = size_of::<H::ProgramHeader>();
        if usize::from(header.e_phentsize(LittleEndian)) != entry_size || table < size_of::<H>() as u64 {
            return Err(image.refuse(Malformed, "has program headers of a wrong size or place"));
        }
        let count = header.e_phnum(LittleEndian);
        if count > MAX_PROGRAM_HEADERS {
            return Err(image.refuse(Malformed, format!("has {count} program headers, more than 64")));
        }

        let entry = header.e_entry(LittleEndian).into();
        let mut elf = Self { entry, segments: Vec::new(), notes: Vec::new() };
        let len = image.len()?;
        let mut bytes = vec![0; entry_size];
        for index in 0..u64::from(count) {
            let truncated = || image.refuse(Truncated, "ends within its program headers");
            let size = entry_size as u64;
            let end = table.checked_add((index + 1) * size).filter(|end| *end <= len).ok_or_else(truncated)?;
            image.read_at(end - size, &mut bytes)?;
            let (header, _) = from_bytes::<H::ProgramHeader>(&bytes).map_err(|()| truncated())?;
            elf.add_program_header(image, len, header)?;
        }
        if elf.segments.is_empty() {
            return Err(image.refuse(Malformed, "has no segment to load"));
        }
        // The entry point in the header is a virtual address. Kernels that map themselves to high addresses often state
        // the physical address instead, which is outside the virtual addresses of all segments.
        elf.entry = elf.segments.iter().find_map(|segment| segment.physical(entry)).unwrap_or(entry);
        Ok(elf)
    }

    fn add_program_header(
        &mut self,
        image: &BootImage,
        len: u64,
        header: &impl ProgramHeader<Endian = LittleEndian>,
    ) -> Result<(), GuestImageError> {
        let kind = header.p_type(LittleEndian);
        if ![PT_LOAD, PT_NOTE].contains(&kind) {
            return Ok(());
        }
        let segment = Segment {
            offset: header.p_offset(LittleEndian).into(),
            address: header.p_paddr(LittleEndian).into(),
            virtual_address: header.p_vaddr(LittleEndian).into(),
            file_size: header.p_filesz(LittleEndian).into(),
            memory_size: header.p_memsz(LittleEndian).into(),
        };
        let end = segment.offset.checked_add(segment.file_size).filter(|end| *end <= len);
        let end = end.ok_or_else(|| {
            let Segment { offset, file_size, .. } = segment;
            image.refuse(Truncated, format!("has {len} bytes, but a segment of {file_size} bytes at offset {offset}"))
        })?;
        if kind == PT_NOTE {
            if segment.file_size > MAX_NOTES_SIZE {
                return Err(image.refuse(Malformed, "has a segment with more than 64 KiB of notes"));
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

    /// Returns the physical address of the 32-bit PVH entry, if a note has it. The first entry counts.
    pub fn pvh_entry(&self, image: &BootImage) -> Result<Option<u64>, GuestImageError> {
        for range in &self.notes {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            image.read_at(range.start, &mut bytes)?;
            let [first, second] = NOTE_ALIGNMENTS.map(|alignment| xen_entry(image, &bytes, alignment));
            let found = match (first, second) {
                (Ok(Some(entry)), _) | (Err(_) | Ok(None), Ok(Some(entry))) => Some(entry),
                (Ok(None), _) | (_, Ok(None)) => None,
                (Err(error), Err(_)) => return Err(error),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Returns the entry in notes of this alignment. Checks the notes up to the entry.
fn xen_entry(image: &BootImage, bytes: &[u8], alignment: u64) -> Result<Option<u64>, GuestImageError> {
    let malformed = |_| image.refuse(Malformed, "has a note that is longer than its segment");
    // Notes of 32-bit files have the same format.
    let notes = NoteIterator::<FileHeader64<LittleEndian>>::new(LittleEndian, alignment, bytes);
    for note in notes.map_err(malformed)? {
        let note = note.map_err(malformed)?;
        if (note.name_bytes(), note.n_type(LittleEndian)) == XEN_NOTE {
            let address = note
                .desc()
                .first_chunk()
                .ok_or_else(|| image.refuse(Malformed, "has a PVH note that is too short for an address, 4 bytes"))?;
            return Ok(Some(u32::from_le_bytes(*address).into()));
        }
    }
    Ok(None)
}
