//! DSDT: the devices that a guest cannot discover, and the sleep type that powers off.

use super::{Description, HardwareId, bytes_of, table};
use crate::devices::S5_SLEEP_TYPE;
use crate::virtio::transports::{self, Place};
use acpi_tables::Aml;
use acpi_tables::aml::{Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope};
use acpi_tables::sdt::Sdt;

/// Builds the DSDT. `generation` is the address of the machine's generation.
pub fn dsdt(board: &Description<'_>, generation: Option<u32>) -> Sdt {
    let mut devices = Vec::new();
    for (index, entry) in board.platform.iter().enumerate() {
        let (base, len) = entry.ports;
        let (name, unit) = entry.name_and_unit(&board.platform[..index]);
        let ports = io(base, len);
        let line = entry.line.map(|line| edge(line, false));
        let resources: Vec<&dyn Aml> =
            std::iter::once(&ports as &dyn Aml).chain(line.iter().map(|line| line as &dyn Aml)).collect();
        devices.extend(match entry.id {
            HardwareId::Eisa(id) => device(&name, &EISAName::new(id), unit, &resources),
            HardwareId::Acpi(id) => device(&name, &id, unit, &resources),
        });
    }
    for (unit, Place { base, line, shared }) in (0..).zip(board.virtio) {
        let registers = Memory32Fixed::new(true, low32(*base), low32(transports::SIZE));
        devices.extend(device(&format!("VR{unit:02X}"), &"LNRO0005", unit, &[&registers, &edge(*line, *shared)]));
    }
    if let Some(address) = generation {
        devices.extend(generation_counter(address));
    }
    let mut dsdt = table(*b"DSDT", 2);
    dsdt.append_slice(&Scope::raw(Path::new("\\_SB_"), devices));
    let off = Package::new(vec![&S5_SLEEP_TYPE, &0u8, &0u8, &0u8]);
    dsdt.append_slice(&bytes_of(&Name::new(Path::new("\\_S5_"), &off)));
    dsdt
}

/// Builds a device without methods. `name` has 4 characters.
fn device(name: &str, id: &dyn Aml, unit: u8, resources: &[&dyn Aml]) -> Vec<u8> {
    let children = [
        Name::new(Path::new("_HID"), id),
        Name::new(Path::new("_UID"), &unit),
        // DMA is coherent with the processors' caches. Irrelevant to devices without DMA.
        Name::new(Path::new("_CCA"), &1u8),
        Name::new(Path::new("_CRS"), &ResourceTemplate::new(resources.to_vec())),
    ];
    bytes_of(&Device::new(Path::new(name), children.iter().map(|child| child as &dyn Aml).collect()))
}

/// Builds the device of the machine's generation. The names are QEMU's and Microsoft's.
fn generation_counter(address: u32) -> Vec<u8> {
    const COUNTER: &str = "VM_Gen_Counter";
    // The lower and the upper half of the address.
    let place = Package::new(vec![&address, &0u8]);
    let children = [
        Name::new(Path::new("_HID"), &"QEMUVGID"),
        Name::new(Path::new("_CID"), &COUNTER),
        Name::new(Path::new("_DDN"), &COUNTER),
        Name::new(Path::new("ADDR"), &place),
    ];
    bytes_of(&Device::new(Path::new("VGEN"), children.iter().map(|child| child as &dyn Aml).collect()))
}

/// Returns the offset in the table of this address as a 32-bit number. The address is above 64 KiB.
pub fn find_address(table: &[u8], address: u32) -> Option<u32> {
    const DWORD_PREFIX: u8 = 0x0c;
    let [a, b, c, d] = address.to_le_bytes();
    let number = [DWORD_PREFIX, a, b, c, d];
    let at = table.windows(number.len()).position(|window| window == number)?;
    u32::try_from(at + 1).ok()
}

fn io(base: u16, len: u8) -> IO {
    IO::new(base, base, 1, len)
}

/// Describes an edge-triggered interrupt line. All devices of the board have edge-triggered lines.
fn edge(line: u8, shared: bool) -> Interrupt {
    Interrupt::new(true, true, false, shared, line.into())
}

/// Converts an address that always fits: devices lie below 4 GiB.
fn low32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
