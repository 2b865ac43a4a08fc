//! Linux's 64-bit boot protocol (Documentation/arch/x86/boot.rst): a bzImage or an ELF64 vmlinux, and the zero page.
//!
//! The kernel is entered in 64-bit mode at its own entry. Neither its real-mode setup code nor its switch from 32 to 64
//! bits runs: on a host that emulates such code, those take the most time.

use super::Guest;
use super::boot_data::{BootData, piece, string};
use super::bzimage::BzImage;
use super::elf::{Class, Elf};
use super::long_mode::{GDT_LIMIT, GDT_SIZE, PAGE_TABLES_SIZE, gdt, page_tables};
use super::modules::{PlacedModule, Side};
use crate::GuestImageProblem::{DoesNotFit, WrongClass};
use crate::layout::{HOLE_END, MemoryKind};
use crate::{GuestImageError, SetupError};
use kvm_accel::{StartMode, StartState};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::ByteValued;

/// The type "undefined" in the list of boot loaders.
const LOADER: u8 = 0xff;
const BOOT_FLAG: u16 = 0xaa55;
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// The protocol version for kernels without a header: the version that has the 64-bit entry.
const VERSION: u16 = 0x020c;
/// x86's COMMAND_LINE_SIZE without the NUL, for kernels without a header.
const CMDLINE_SIZE: u32 = 2047;

const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// A kernel in either of the two formats.
enum Kernel {
    BzImage(BzImage),
    Vmlinux(Elf),
}

impl Kernel {
    fn parse(guest: &Guest<'_>) -> Result<Self, GuestImageError> {
        let Guest { kernel, head, .. } = *guest;
        match Class::of(head) {
            Some(Class::Elf64) => Ok(Self::Vmlinux(Elf::parse(kernel, head)?)),
            Some(Class::Elf32) => {
                Err(kernel.refuse(WrongClass, "is a 32-bit ELF file: expected ELF64 or a bzImage for Linux"))
            }
            None => BzImage::parse(kernel, head).map(Self::BzImage),
        }
    }

    const fn entry(&self) -> u64 {
        match self {
            Self::BzImage(image) => image.entry(),
            Self::Vmlinux(elf) => elf.entry,
        }
    }

    fn header(&self) -> setup_header {
        match self {
            Self::BzImage(image) => setup_header { type_of_loader: LOADER, ..image.header },
            Self::Vmlinux(_) => setup_header {
                boot_flag: BOOT_FLAG,
                header: MAGIC,
                version: VERSION,
                type_of_loader: LOADER,
                initrd_addr_max: u32::MAX,
                cmdline_size: CMDLINE_SIZE,
                ..setup_header::default()
            },
        }
    }

    fn place(&self, guest: &mut Guest<'_>) -> Result<(), GuestImageError> {
        match self {
            Self::BzImage(image) => image.place(guest),
            Self::Vmlinux(elf) if elf.entry >= HOLE_END => {
                let what = format!("has its entry point at {:#x}: expected an address below 4 GiB", elf.entry);
                Err(guest.kernel.refuse(DoesNotFit, what))
            }
            Self::Vmlinux(elf) => guest.place_kernel(&elf.segments, elf.entry),
        }
    }

    fn copy(&self, guest: &Guest<'_>) -> Result<(), SetupError> {
        match self {
            Self::BzImage(image) => image.copy(guest),
            Self::Vmlinux(elf) => guest.copy_kernel(&elf.segments),
        }
    }
}

pub(super) fn load(mut guest: Guest<'_>) -> Result<StartState, SetupError> {
    let kernel = Kernel::parse(&guest)?;
    let header = kernel.header();
    let cmdline = guest.linux_cmdline();
    check_cmdline(&guest, &cmdline, header.cmdline_size)?;
    kernel.place(&mut guest)?;
    let initrd = place_initrd(&mut guest, header.initrd_addr_max)?;

    let size = PAGE_TABLES_SIZE + piece(size_of::<boot_params>()) + piece(GDT_SIZE) + string(&cmdline);
    let mut data = BootData::reserve(&mut guest, size)?;
    let tables = page_tables(usize::try_from(data.next()).unwrap_or(0));
    let page_table = data.push(&tables);
    let gdt = data.push(&gdt());
    let cmdline = data.push_string(&cmdline);
    let zero_page = data.push(zero_page(&guest, header, cmdline, initrd.as_ref()).as_slice());

    kernel.copy(&guest)?;
    guest.copy_modules(initrd.as_slice())?;
    let rsp = data.stack();
    data.write(&guest)?;
    let mode = StartMode::Long { page_table, gdt, gdt_limit: GDT_LIMIT };
    Ok(StartState { mode, rip: kernel.entry(), rax: 0, rbx: 0, rsi: zero_page, rsp })
}

fn check_cmdline(guest: &Guest<'_>, cmdline: &str, most: u32) -> Result<(), GuestImageError> {
    let len = cmdline.len();
    if len as u64 <= u64::from(most) {
        return Ok(());
    }
    let what = format!(
        "accepts a command line of at most {most} bytes (header field cmdline_size), but the command line has {len}"
    );
    Err(guest.kernel.refuse(DoesNotFit, what).with_remedy("Shorten the command line."))
}

/// Reserves memory for the initrd, if there is one. The protocol supports only one.
fn place_initrd<'a>(guest: &mut Guest<'a>, last: u32) -> Result<Option<PlacedModule<'a>>, GuestImageError> {
    if let Some(second) = guest.options.modules.get(1) {
        let error = second.image.refuse(DoesNotFit, "is a second initrd: Linux's boot protocol passes only one");
        return Err(error.with_remedy("Concatenate the archives into one file."));
    }
    Ok(guest.place_modules(Side::Top { last: last.into() })?.pop())
}

fn zero_page(guest: &Guest<'_>, header: setup_header, cmdline: u64, initrd: Option<&PlacedModule<'_>>) -> boot_params {
    let hdr = setup_header {
        cmd_line_ptr: low32(cmdline),
        ramdisk_image: initrd.map_or(0, |placed| low32(placed.address)),
        ramdisk_size: initrd.map_or(0, |placed| low32(placed.size)),
        ..header
    };
    let mut params = boot_params { hdr, acpi_rsdp_addr: guest.rsdp.unwrap_or(0), ..boot_params::default() };
    for (entry, (range, kind)) in params.e820_table.iter_mut().zip(guest.layout.firmware_map()) {
        let r#type = match kind {
            MemoryKind::Ram => E820_RAM,
            MemoryKind::Reserved => E820_RESERVED,
        };
        *entry = boot_e820_entry { addr: range.start, size: range.end - range.start, r#type };
        params.e820_entries += 1;
    }
    params
}

/// Converts a value that always fits: everything placed lies below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
