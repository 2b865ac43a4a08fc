//! Multiboot 1, specification 0.6.96: a header in the first 8 KiB of the image, and an information structure for the
//! kernel.

use super::elf::Elf;
use super::modules::{PlacedModule, Side};
use super::segment::Segment;
use super::{BootImage, Guest, boot_data};
use crate::GuestImageProblem::{DoesNotFit, Malformed, Truncated, Unrecognised};
use crate::{GuestImageError, SetupError};
use boot_data::BootData;
use kvm_accel::{StartMode, StartState};

const HEADER_MAGIC: u32 = 0x1bad_b002;
const BOOTLOADER_MAGIC: u64 = 0x2bad_b002;

/// Header flags. Modules are always page-aligned and the memory information is always passed. A video mode is a request
/// that a loader may ignore.
const MUST_UNDERSTAND: u32 = 0xffff;
const UNDERSTOOD: u32 = 0b111;
const HAS_ADDRESSES: u32 = 1 << 16;

/// Information flags: which fields below are valid.
const INFO_MEMORY: u32 = 1 << 0;
const INFO_CMDLINE: u32 = 1 << 2;
const INFO_MODULES: u32 = 1 << 3;
const INFO_MMAP: u32 = 1 << 6;

/// Sizes in bytes: the information up to its last field (`vbe_interface_len`), a module, a memory map entry.
const INFO_SIZE: usize = 88;
const MODULE_SIZE: usize = 16;
const MMAP_ENTRY_SIZE: usize = 24;

const MMAP_AVAILABLE: u32 = 1;

/// A valid header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// The header's offset in the image.
    offset: u64,
    flags: u32,
    /// The load addresses of an image that is not an ELF file, or that must not be loaded as one.
    pub addresses: Option<Addresses>,
}

/// The address fields of a header, which describe an a.out-like format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    header: u32,
    load: u32,
    /// 0: load up to the end of the file.
    load_end: u32,
    /// 0: there is no bss.
    bss_end: u32,
    entry: u32,
}

impl Header {
    /// Finds the header in the first bytes of an image.
    pub fn find(kernel: &BootImage, head: &[u8]) -> Result<Option<Self>, GuestImageError> {
        let found = head.windows(12).enumerate().step_by(4).find(|(_, window)| {
            let [magic, flags, checksum] = [0, 4, 8].map(|at| le32(&window[at..]));
            magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0
        });
        let Some((offset, window)) = found else { return Ok(None) };
        let flags = le32(&window[4..]);
        let addresses = if flags & HAS_ADDRESSES == 0 {
            None
        } else {
            let fields = head.get(offset + 12..offset + 32).ok_or_else(|| {
                kernel.refuse(Truncated, "ends (or its first 8 KiB end) within the addresses of its multiboot header")
            })?;
            let [header, load, load_end, bss_end, entry] = [0, 4, 8, 12, 16].map(|at| le32(&fields[at..]));
            Some(Addresses { header, load, load_end, bss_end, entry })
        };
        Ok(Some(Self { offset: offset as u64, flags, addresses }))
    }
}

impl Addresses {
    /// Returns the segment that the addresses describe, for an image of `len` bytes with its header at `offset`.
    fn segment(&self, kernel: &BootImage, offset: u64, len: u64) -> Result<Segment, GuestImageError> {
        let [header, load, load_end, bss_end] = [self.header, self.load, self.load_end, self.bss_end].map(u64::from);
        let malformed = || kernel.refuse(Malformed, "has contradictory addresses in its multiboot header");
        let before_header = header.checked_sub(load).ok_or_else(malformed)?;
        let start = offset.checked_sub(before_header).ok_or_else(malformed)?;
        let file_size = match load_end {
            0 => len - start,
            end => end.checked_sub(load).ok_or_else(malformed)?,
        };
        if file_size > len - start {
            return Err(kernel.refuse(Truncated, format!("has fewer than the {file_size} bytes that its header loads")));
        }
        let memory_size = match bss_end {
            0 => file_size,
            end => end.checked_sub(load).filter(|size| *size >= file_size).ok_or_else(malformed)?,
        };
        Ok(Segment { offset: start, file_size, address: load, memory_size, virtual_address: load })
    }
}

pub(super) fn load(mut guest: Guest<'_>, header: &Header) -> Result<StartState, SetupError> {
    let kernel = guest.kernel;
    let unknown = header.flags & MUST_UNDERSTAND & !UNDERSTOOD;
    if unknown != 0 {
        let what = format!("requires unsupported features of a multiboot loader (header flags {unknown:#x})");
        return Err(kernel.refuse(Unrecognised, what).into());
    }
    let (segments, entry) = match &header.addresses {
        Some(addresses) => {
            let segment = addresses.segment(kernel, header.offset, kernel.len()?)?;
            (vec![segment], addresses.entry.into())
        }
        None => {
            let elf = Elf::parse(kernel, guest.head)?;
            (elf.segments, elf.entry)
        }
    };
    // The kernel is entered in 32 bits without paging, whatever the class of its file.
    let beyond = segments.iter().find(|segment| segment.address > u32::MAX.into());
    if let Some(address) = beyond.map(|segment| segment.address).or((entry > u32::MAX.into()).then_some(entry)) {
        let what =
            format!("has {address:#x} as a physical address: expected an address below 4 GiB in a multiboot kernel");
        return Err(kernel.refuse(DoesNotFit, what).into());
    }
    guest.place_kernel(&segments, entry)?;
    let modules = guest.place_modules(Side::AboveKernel)?;
    let (data, info) = information(&mut guest, &modules)?;

    guest.copy_kernel(&segments)?;
    guest.copy_modules(&modules)?;
    let rsp = data.stack();
    data.write(&guest)?;
    Ok(StartState { mode: StartMode::Protected, rip: entry, rax: BOOTLOADER_MAGIC, rbx: info, rsi: 0, rsp })
}

/// Builds the boot data. Returns it, and the address of the information structure in it.
fn information(guest: &mut Guest<'_>, modules: &[PlacedModule<'_>]) -> Result<(BootData, u64), GuestImageError> {
    // As in QEMU: the first word is the name of the program.
    let options = guest.options;
    let cmdline = [options.name.as_str(), &options.cmdline].join(" ");
    let memory_map = guest.layout.memory_map();
    let strings = modules.iter().map(|placed| boot_data::string(&placed.module.cmdline)).sum::<usize>();
    let size = boot_data::string(&cmdline)
        + strings
        + boot_data::piece(modules.len() * MODULE_SIZE)
        + boot_data::piece(memory_map.len() * MMAP_ENTRY_SIZE)
        + boot_data::piece(INFO_SIZE);
    let mut data = BootData::reserve(guest, size)?;

    let cmdline = data.push_string(&cmdline);
    let mut list = Vec::with_capacity(modules.len() * MODULE_SIZE);
    for placed in modules {
        let cmdline = data.push_string(&placed.module.cmdline);
        let fields = [placed.address, placed.address + placed.size, cmdline, 0];
        list.extend(fields.into_iter().flat_map(|field| low32(field).to_le_bytes()));
    }
    let module_list = data.push(&list);
    let mut mmap = Vec::with_capacity(memory_map.len() * MMAP_ENTRY_SIZE);
    for range in &memory_map {
        // The size field of an entry does not count itself.
        mmap.extend(low32((MMAP_ENTRY_SIZE - 4) as u64).to_le_bytes());
        mmap.extend(range.start.to_le_bytes());
        mmap.extend((range.end - range.start).to_le_bytes());
        mmap.extend(MMAP_AVAILABLE.to_le_bytes());
    }
    let mmap_address = data.push(&mmap);

    // Memory in KiB: below 640 KiB, and from 1 MiB up to the first hole.
    let lower = memory_map.first().map_or(0, |range| range.end >> 10);
    let upper = guest.layout.low().end.saturating_sub(1 << 20) >> 10;
    let mut info = [0; INFO_SIZE];
    let flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP;
    for (offset, value) in [
        (0, flags.into()),
        (4, lower),
        (8, upper),
        (16, cmdline),
        (20, modules.len() as u64),
        (24, module_list),
        (44, mmap.len() as u64),
        (48, mmap_address),
    ] {
        info[offset..offset + 4].copy_from_slice(&low32(value).to_le_bytes());
    }
    let info = data.push(&info);
    Ok((data, info))
}

/// Converts a value that always fits: everything placed lies below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Returns the little-endian number in the first 4 of `bytes`.
fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
