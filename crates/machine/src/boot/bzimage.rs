//! bzImage: a compressed Linux kernel behind a setup header, which is not trusted.

use super::placement::Conflict;
use super::{BootImage, Guest};
use crate::GuestImageProblem::{DoesNotFit, Malformed, Overlap, Truncated, Unrecognised, WrongClass};
use crate::{GuestImageError, SetupError};
use linux_loader::loader::bootparam::{LOADED_HIGH, XLF_KERNEL_64, setup_header};
use vm_memory::ByteValued;

/// The offset of the setup header, both in the file and in the zero page.
const HEADER: usize = 0x1f1;
/// The header ends at this offset plus the operand of its jump instruction, which is the byte before this offset.
const JUMP_END: usize = 0x202;
const BOOT_FLAG: (usize, &[u8]) = (0x1fe, &[0x55, 0xaa]);
const MAGIC: (usize, &[u8]) = (JUMP_END, b"HdrS");

/// 2.12, the first version that declares a 64-bit entry.
const VERSION: u16 = 0x020c;
const SECTOR: u64 = 512;
/// The number of setup sectors that `setup_sects` 0 stands for.
const DEFAULT_SETUP_SECTORS: u8 = 4;
/// The unit of `syssize` in bytes.
const PARAGRAPH: u64 = 16;
/// The offset of the 64-bit entry from the load address.
const ENTRY_64: u64 = 0x200;

/// Returns true if `head` is the beginning of a bzImage.
pub(super) fn is(head: &[u8]) -> bool {
    [BOOT_FLAG, MAGIC].iter().all(|(at, magic)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
}

/// The validated fields of a bzImage that loading it needs.
#[derive(Debug)]
pub(super) struct BzImage {
    /// The header as in the file.
    pub header: setup_header,
    /// The offset in the file of the part that is loaded.
    offset: u64,
    size: u64,
    /// The load address.
    load: u64,
    /// Where the kernel unpacks itself, and how much memory it needs there.
    pref_address: u64,
    init_size: u64,
}

impl BzImage {
    /// Reads the header of `kernel`, which begins with `head`.
    pub fn parse(kernel: &BootImage, head: &[u8]) -> Result<Self, GuestImageError> {
        let header = setup_header_of(kernel, head)?;
        let version = header.version;
        if version < VERSION {
            let (major, minor) = (version >> 8, version & 0xff);
            let what =
                format!("has boot protocol {major}.{minor:02} (header field version), which has no 64-bit entry");
            return Err(kernel.refuse(Unrecognised, what).with_remedy("Use Linux 3.8 or later, for x86-64."));
        }
        if header.loadflags & LOADED_HIGH == 0 {
            let what = "is a zImage (header field loadflags without LOADED_HIGH), which has no 64-bit entry";
            return Err(kernel.refuse(Unrecognised, what).with_remedy("Build the kernel as a bzImage."));
        }
        if header.xloadflags & XLF_KERNEL_64 == 0 {
            let what = "is a 32-bit kernel (header field xloadflags without XLF_KERNEL_64)";
            return Err(kernel.refuse(WrongClass, what).with_remedy("Use a kernel for x86-64."));
        }
        let sectors = if header.setup_sects == 0 { DEFAULT_SETUP_SECTORS } else { header.setup_sects };
        let offset = (u64::from(sectors) + 1) * SECTOR;
        let len = kernel.len()?;
        let size = len.checked_sub(offset).filter(|size| *size > ENTRY_64).ok_or_else(|| {
            let what =
                format!("has {len} bytes, but states that its kernel begins at {offset} (header field setup_sects)");
            kernel.refuse(Truncated, what)
        })?;
        let promised = u64::from(header.syssize) * PARAGRAPH;
        if size < promised.saturating_sub(PARAGRAPH - 1) {
            let what = format!("has {size} bytes of kernel, but states {promised} (header field syssize)");
            return Err(kernel.refuse(Truncated, what));
        }
        let (pref_address, init_size) = (header.pref_address, u64::from(header.init_size));
        if init_size < size {
            let what = format!(
                "has {size} bytes of kernel, but states that it needs {init_size} to unpack (header field init_size)"
            );
            return Err(kernel.refuse(Malformed, what));
        }
        let load = if header.relocatable_kernel == 0 { header.code32_start.into() } else { pref_address };
        Ok(Self { header, offset, size, load, pref_address, init_size })
    }

    /// Returns the address of the first instruction.
    pub const fn entry(&self) -> u64 {
        self.load + ENTRY_64
    }

    /// Reserves the memory that the kernel is loaded to and unpacks itself to.
    pub fn place(&self, guest: &mut Guest<'_>) -> Result<(), GuestImageError> {
        let Self { load, size, pref_address, init_size, .. } = *self;
        let kernel = guest.kernel;
        let refuse = |conflict, fields: &str, address: u64, size: u64| {
            let ram = guest.layout.size();
            let what = format!("needs {size:#x} bytes at {address:#x} (header fields {fields})");
            match conflict {
                Conflict::NoRam => {
                    let what = format!("{what}, where the guest has no RAM ({ram:#x} bytes in all)");
                    kernel.refuse(DoesNotFit, what).with_remedy("Give the guest more memory.")
                }
                Conflict::Taken(_) => kernel.refuse(Overlap, format!("{what}, where it is loaded itself")),
            }
        };
        // A 32-bit field and the identity mapping reach no further than 4 GiB.
        let end = |address: u64, size| address.checked_add(size).filter(|end| *end <= 1 << 32).ok_or(Conflict::NoRam);
        let runtime = end(pref_address, init_size)
            .map(|end| pref_address..end)
            .map_err(|conflict| refuse(conflict, "pref_address and init_size", pref_address, init_size))?;
        let loaded = end(load, size)
            .map(|end| load..end)
            .map_err(|conflict| refuse(conflict, "code32_start and syssize", load, size))?;
        // A kernel may unpack itself over the memory that it was loaded to.
        let apart = loaded.end <= runtime.start || runtime.end <= loaded.start;
        let whole = if apart { runtime } else { runtime.start.min(loaded.start)..runtime.end.max(loaded.end) };
        guest
            .space
            .fixed(whole)
            .map_err(|conflict| refuse(conflict, "pref_address and init_size", pref_address, init_size))?;
        if apart {
            guest.space.fixed(loaded).map_err(|conflict| refuse(conflict, "code32_start and syssize", load, size))?;
        }
        Ok(())
    }

    /// Copies the placed kernel.
    pub fn copy(&self, guest: &Guest<'_>) -> Result<(), SetupError> {
        guest.kernel.copy_to(guest.ram, self.offset, self.size, self.load, guest.cancel)
    }
}

/// Returns the setup header. Fields beyond its end are zero.
fn setup_header_of(kernel: &BootImage, head: &[u8]) -> Result<setup_header, GuestImageError> {
    if !is(head) {
        let what = "is neither an ELF file nor a bzImage (0xaa55 at 0x1fe, HdrS at 0x202)";
        return Err(kernel.refuse(Unrecognised, what));
    }
    let end = JUMP_END + usize::from(head[JUMP_END - 1]);
    let bytes = head.get(HEADER..end).ok_or_else(|| kernel.refuse(Truncated, "ends within its setup header"))?;
    let mut header = setup_header::default();
    let len = bytes.len().min(size_of::<setup_header>());
    header.as_mut_slice()[..len].copy_from_slice(&bytes[..len]);
    Ok(header)
}
