//! PVH: an ELF64 kernel with a Xen note that names a 32-bit entry point, and Xen's start-of-day structure.
//!
//! linux-loader defines the structures. [`Elf`] reads the headers and the note, and segments are copied in slices.
//! linux-loader's own loading is not used: it checks segments neither against each other nor against RAM, uses the last
//! of several note segments even if the entry is in another, and copies a segment as a whole, which cannot be
//! cancelled.

use super::elf::Elf;
use super::modules::{PlacedModule, Side};
use super::{Guest, boot_data};
use crate::GuestImageProblem::Unrecognised;
use crate::layout::MemoryKind;
use crate::{GuestImageError, SetupError};
use boot_data::BootData;
use kvm_accel::{StartMode, StartState};
use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry,
    hvm_modlist_entry, hvm_start_info,
};
use vm_memory::ByteValued;

/// The structure's version that has a memory map.
const START_INFO_VERSION: u32 = 1;

pub(super) fn load(mut guest: Guest<'_>) -> Result<StartState, SetupError> {
    let kernel = guest.kernel;
    let elf = Elf::parse(kernel, guest.head)?;
    let entry = elf.pvh_entry(kernel)?.ok_or_else(|| {
        let error = kernel.refuse(Unrecognised, "is an ELF file without a PVH note (Xen, type 18)");
        error.with_remedy("Build Linux with CONFIG_PVH=y, or link the guest as ELF32 with a multiboot-1 header.")
    })?;
    guest.place_kernel(&elf.segments, entry)?;
    let modules = guest.place_modules(Side::Top { last: u32::MAX.into() })?;
    let (data, info) = start_info(&mut guest, &modules)?;

    guest.copy_kernel(&elf.segments)?;
    guest.copy_modules(&modules)?;
    let rsp = data.stack();
    data.write(&guest)?;
    Ok(StartState { mode: StartMode::Protected, rip: entry, rax: 0, rbx: info, rsi: 0, rsp })
}

/// Builds the boot data. Returns it, and the address of the start-of-day structure in it.
fn start_info(guest: &mut Guest<'_>, modules: &[PlacedModule<'_>]) -> Result<(BootData, u64), GuestImageError> {
    let cmdline = guest.linux_cmdline();
    let memory_map = guest.layout.firmware_map();
    let strings = modules.iter().map(|placed| boot_data::string(&placed.module.cmdline)).sum::<usize>();
    let size = boot_data::string(&cmdline)
        + strings
        + modules.len() * boot_data::piece(size_of::<hvm_modlist_entry>())
        + memory_map.len() * boot_data::piece(size_of::<hvm_memmap_table_entry>())
        + boot_data::piece(size_of::<hvm_start_info>());
    let mut data = BootData::reserve(guest, size)?;

    let cmdline_paddr = data.push_string(&cmdline);
    let module_list: Vec<_> = modules
        .iter()
        .map(|placed| hvm_modlist_entry {
            paddr: placed.address,
            size: placed.size,
            cmdline_paddr: data.push_string(&placed.module.cmdline),
            reserved: 0,
        })
        .collect();
    let memmap = memory_map.iter().map(|(range, kind)| hvm_memmap_table_entry {
        addr: range.start,
        size: range.end - range.start,
        type_: match kind {
            MemoryKind::Ram => XEN_HVM_MEMMAP_TYPE_RAM,
            MemoryKind::Reserved => XEN_HVM_MEMMAP_TYPE_RESERVED,
        },
        reserved: 0,
    });
    let info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: START_INFO_VERSION,
        nr_modules: u32::try_from(modules.len()).unwrap_or(u32::MAX),
        modlist_paddr: data.push(&module_list.iter().flat_map(|entry| entry.as_slice()).copied().collect::<Vec<_>>()),
        cmdline_paddr,
        rsdp_paddr: guest.rsdp.unwrap_or(0),
        memmap_paddr: data.push(&memmap.flat_map(|entry| entry.as_slice().to_vec()).collect::<Vec<_>>()),
        memmap_entries: u32::try_from(memory_map.len()).unwrap_or(u32::MAX),
        ..hvm_start_info::default()
    };
    let info = data.push(info.as_slice());
    Ok((data, info))
}
