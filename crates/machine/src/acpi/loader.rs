//! The tables for firmware, which places them itself: the bytes as files of fw_cfg, and `etc/table-loader`, the
//! commands that link them (QEMU's docs/specs: bios-linker-loader).

use super::{RSDP, Tables};
use acpi_tables::rsdp::Rsdp;

const ROOT_FILE: &str = "etc/acpi/rsdp";
const TABLES_FILE: &str = "etc/acpi/tables";
const SCRIPT_FILE: &str = "etc/table-loader";

/// The loader's commands.
const ALLOCATE: u32 = 1;
const ADD_POINTER: u32 = 2;
const ADD_CHECKSUM: u32 = 3;
const COMMAND_SIZE: usize = 128;
const NAME_SIZE: usize = 56;

/// The zones where firmware allocates: anywhere, or where guests search for the root pointer.
const HIGH: u8 = 1;
const F_SEGMENT: u8 = 2;
const ALIGN: u32 = 64;
/// The offset of the first table: behind the root pointer, with the alignment of all tables.
const FIRST_TABLE: usize = 64;
const ROOT_ALIGN: u32 = 16;

/// The header of each table, except FACS and the root pointer.
const HEADER_SIZE: usize = 36;
const LENGTH: usize = 4;
const CHECKSUM: usize = 9;

/// A pointer: its offset in its file, and its size.
type Pointer = (usize, u8);

/// The root pointer's pointers to RSDT and XSDT. One of its checksums covers its first part, the other all of it.
const ROOT_POINTERS: [Pointer; 2] = [(16, 4), (24, 8)];
const ROOT_CHECKSUMS: [(usize, usize); 2] = [(8, 20), (32, 36)];
/// The FADT's pointers to FACS and DSDT.
const FADT_POINTERS: [Pointer; 4] = [(36, 4), (40, 4), (132, 8), (140, 8)];

impl Tables {
    /// Returns the files. Their pointers count from the start of `etc/acpi/tables`.
    #[must_use]
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut root = self.bytes[..Rsdp::len()].to_vec();
        let mut tables = self.bytes[FIRST_TABLE..].to_vec();
        let base = RSDP + FIRST_TABLE as u64;
        let rsdt = offset(&root, ROOT_POINTERS[0], base);
        let xsdt = offset(&root, ROOT_POINTERS[1], base);
        let mut pointers: Vec<Pointer> = entries(&tables, rsdt, 4).chain(entries(&tables, xsdt, 8)).collect();
        let fadt = pointers
            .iter()
            .map(|pointer| offset(&tables, *pointer, base))
            .find(|at| tables[*at..].starts_with(b"FACP"));
        let fadt_pointers = FADT_POINTERS.iter().flat_map(|(at, size)| fadt.map(|fadt| (fadt + at, *size)));
        let generation = self.generation.map(|at| (usize::try_from(u64::from(at) - base).unwrap_or(0), 4));
        pointers.extend(generation);
        pointers.extend(fadt_pointers.filter(|pointer| value(&tables, *pointer) != 0));

        let mut script = [allocate(ROOT_FILE, ROOT_ALIGN, F_SEGMENT), allocate(TABLES_FILE, ALIGN, HIGH)].concat();
        for pointer in pointers {
            rebase(&mut tables, pointer, base);
            script.extend(add_pointer(TABLES_FILE, pointer));
        }
        for pointer in ROOT_POINTERS {
            rebase(&mut root, pointer, base);
            script.extend(add_pointer(ROOT_FILE, pointer));
        }
        let dsdt = usize::try_from(u64::from(self.dsdt) - base).ok();
        for table in [Some(rsdt), Some(xsdt), fadt, dsdt].into_iter().flatten() {
            let len = length(&tables, table);
            script.extend(add_checksum(TABLES_FILE, table + CHECKSUM, table, len));
        }
        for (at, len) in ROOT_CHECKSUMS {
            script.extend(add_checksum(ROOT_FILE, at, 0, len));
        }
        [(ROOT_FILE, root), (TABLES_FILE, tables), (SCRIPT_FILE, script)]
            .map(|(name, file)| (name.to_owned(), file))
            .into()
    }
}

/// Returns the pointers of RSDT or XSDT.
fn entries(tables: &[u8], table: usize, size: u8) -> impl Iterator<Item = Pointer> {
    (table + HEADER_SIZE..table + length(tables, table)).step_by(size.into()).map(move |at| (at, size))
}

fn length(tables: &[u8], table: usize) -> usize {
    let length = value(tables, (table + LENGTH, 4));
    usize::try_from(length).unwrap_or(0)
}

fn value(file: &[u8], (at, size): Pointer) -> u64 {
    let mut bytes = [0; 8];
    bytes[..size.into()].copy_from_slice(&file[at..at + usize::from(size)]);
    u64::from_le_bytes(bytes)
}

fn offset(file: &[u8], pointer: Pointer, base: u64) -> usize {
    usize::try_from(value(file, pointer) - base).unwrap_or(0)
}

fn rebase(file: &mut [u8], (at, size): Pointer, base: u64) {
    let offset = (value(file, (at, size)) - base).to_le_bytes();
    file[at..at + usize::from(size)].copy_from_slice(&offset[..size.into()]);
}

fn name(file: &str) -> [u8; NAME_SIZE] {
    let mut name = [0; NAME_SIZE];
    name[..file.len()].copy_from_slice(file.as_bytes());
    name
}

fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut command = parts.concat();
    command.resize(COMMAND_SIZE, 0);
    command
}

fn number(value: usize) -> [u8; 4] {
    // Fits, because the tables are 64 KiB at most.
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

fn allocate(file: &str, align: u32, zone: u8) -> Vec<u8> {
    command(&[&ALLOCATE.to_le_bytes(), &name(file), &align.to_le_bytes(), &[zone]])
}

fn add_pointer(file: &str, (at, size): Pointer) -> Vec<u8> {
    command(&[&ADD_POINTER.to_le_bytes(), &name(file), &name(TABLES_FILE), &number(at), &[size]])
}

fn add_checksum(file: &str, at: usize, start: usize, len: usize) -> Vec<u8> {
    command(&[&ADD_CHECKSUM.to_le_bytes(), &name(file), &number(at), &number(start), &number(len)])
}
