#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeMap;

const GENERATION: [u8; 16] = *b"this generation!";

fn tables(cpus: Option<u32>, rtc: bool, transports: u8) -> Tables {
    let virtio: Vec<_> = (0..transports)
        .map(|n| Place { base: 0xfeb0_0000 + 512 * u64::from(n), line: 5 + n, shared: n > 20 })
        .collect();
    let entry = |name, id, ports, line| PlatformEntry { name, id, ports, line };
    let mut platform: Vec<_> = [(0x3f8, 4), (0x2f8, 3)]
        .map(|(base, irq)| entry("COM", HardwareId::Eisa("PNP0501"), (base, 8), Some(irq)))
        .into();
    if rtc {
        platform.push(entry("RTC_", HardwareId::RTC, (0x70, 2), Some(8)));
        platform.push(entry("PEVT", HardwareId::Acpi("QEMU0001"), (0x505, 1), None));
    }
    let description = Description {
        processors: cpus.map(Topology::of_cores),
        pic: true,
        hpet: rtc,
        platform: &platform,
        generation: rtc.then_some(GENERATION),
        virtio: &virtio,
    };
    Tables::new(&description).unwrap()
}

fn le(bytes: &[u8], at: usize, len: usize) -> usize {
    bytes[at..at + len].iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

/// Returns the table at an address, with the length in its header. Asserts that its checksum is right.
fn at(tables: &Tables, address: usize) -> &[u8] {
    let table = &tables.bytes[address - 0xe_0000..];
    let table = &table[..le(table, 4, 4)];
    // FACS has no checksum.
    assert!(&table[..4] == b"FACS" || table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0);
    table
}

/// Returns all tables that a guest finds by following the addresses, by signature.
fn found(tables: &Tables) -> BTreeMap<String, &[u8]> {
    let rsdp = &tables.bytes[..36];
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    for len in [20, 36] {
        assert_eq!(rsdp[..len].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    }
    let rsdt = at(tables, le(rsdp, 16, 4));
    let xsdt = at(tables, le(rsdp, 24, 8));
    let list = |table: &[u8], size| -> Vec<_> { table[36..].chunks(size).map(|entry| le(entry, 0, size)).collect() };
    assert_eq!(list(rsdt, 4), list(xsdt, 8));
    let mut addresses = list(rsdt, 4);
    let fadt = at(tables, addresses[0]);
    assert_eq!(le(fadt, 40, 4), le(fadt, 140, 8));
    assert_eq!(le(fadt, 36, 4) % 64, 0);
    addresses.extend([le(fadt, 36, 4), le(fadt, 40, 4)]);
    let name = |table: &[u8]| String::from_utf8(table[..4].to_vec()).unwrap();
    [rsdt, xsdt]
        .into_iter()
        .chain(addresses.into_iter().map(|address| at(tables, address)))
        .map(|t| (name(t), t))
        .collect()
}

fn count(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).filter(|window| *window == what).count()
}

#[test]
fn test_the_root_pointer_leads_to_every_table() {
    let with = tables(Some(2), true, 3);
    let names: Vec<_> = found(&with).into_keys().collect();
    assert_eq!(names, ["APIC", "DSDT", "FACP", "FACS", "HPET", "RSDT", "XSDT"]);
    let hpet = found(&with)["HPET"];
    assert_eq!((hpet.len(), le(hpet, 36, 4), le(hpet, 44, 8), le(hpet, 53, 2)), (56, 0x8086_a201, 0xfed0_0000, 10_000));
    assert!(!found(&tables(None, false, 0)).contains_key("APIC"));
}

#[test]
fn test_fadt_names_the_boards_registers() {
    let tables = tables(Some(1), false, 0);
    let fadt = found(&tables)["FACP"];
    assert_eq!((fadt.len(), le(fadt, 46, 2)), (276, 9));
    assert_eq!((le(fadt, 56, 4), le(fadt, 64, 4), le(fadt, 76, 4)), (0x600, 0x604, 0x608));
    assert_eq!((fadt[88], fadt[89], fadt[91]), (4, 2, 4));
    assert_eq!((fadt[116], fadt[117], le(fadt, 120, 8), fadt[128]), (1, 8, 0x64, 0xfe));
    // The reset register exists, the timer has 24 bits, and the buttons are not fixed hardware.
    assert_eq!(le(fadt, 112, 4) & (1 << 10 | 1 << 8 | 1 << 4 | 1 << 20), 1 << 10 | 1 << 4);
    assert_eq!(le(fadt, 109, 2), 1 | 1 << 2 | 1 << 5);
}

#[test]
fn test_madt_has_processors_ioapic_and_overrides() {
    let tables = tables(Some(255), false, 16);
    let madt = found(&tables)["APIC"];
    assert_eq!((le(madt, 36, 4), le(madt, 40, 4)), (0xfee0_0000, 1));
    let (mut rest, mut entries) = (&madt[44..], Vec::new());
    while let [kind, len, ..] = *rest {
        entries.push((kind, &rest[2..usize::from(len)]));
        rest = &rest[usize::from(len)..];
    }
    let of = |kind| entries.iter().filter(|entry| entry.0 == kind).map(|entry| entry.1).collect::<Vec<_>>();
    assert_eq!(of(0).len(), 255);
    assert_eq!(of(0)[254], [254, 254, 1, 0, 0, 0]);
    assert_eq!(of(1), [[255, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]]);
    assert_eq!(of(2), [[0, 0, 2, 0, 0, 0, 0, 0], [0, 9, 9, 0, 0, 0, 0xd, 0]]);
    assert_eq!(of(4), [[0xff, 0, 0, 1]]);
}

#[test]
fn test_dsdt_has_the_devices_and_s5() {
    let tables = tables(Some(1), true, 16);
    let dsdt = found(&tables)["DSDT"];
    // Names of the devices, the EISA ids of serial port and clock, and resources of the first transport.
    assert_eq!((count(dsdt, b"COM1"), count(dsdt, b"COM2"), count(dsdt, b"RTC_")), (1, 1, 1));
    assert_eq!((count(dsdt, &[0x41, 0xd0, 5, 1]), count(dsdt, &[0x41, 0xd0, 0x0b, 0])), (2, 1));
    assert_eq!(count(dsdt, b"LNRO0005\0"), 16);
    assert_eq!(count(dsdt, &[0x86, 9, 0, 1, 0, 0, 0xb0, 0xfe, 0, 2, 0, 0, 0x89, 6, 0, 3, 1, 5, 0, 0, 0]), 1);
    // \_S5_: a package of four, whose first byte is the sleep type 0 (ZeroOp).
    assert_eq!(count(dsdt, b"_S5_\x12\x06\x04\x00\x00\x00\x00"), 1);
    assert_eq!(count(found(&super::tests::tables(None, false, 0))["DSDT"], b"RTC_"), 0);
}

#[test]
fn test_the_largest_tables_end_before_the_mp_table() {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let tables = tables(Some(255), true, 24);
    assert!(tables.bytes.len() < 0x1_0000);
    tables.write(&ram).unwrap();
    let mut signature = [0; 8];
    ram.read_slice(&mut signature, GuestAddress(0xe_0000)).unwrap();
    assert_eq!(&signature, b"RSD PTR ");
}

/// Executes the loader's commands like firmware, with the files at the addresses that the tables have without firmware.
#[test]
fn test_firmware_puts_the_same_tables_together() {
    for (cpus, transports) in [(Some(4), 3), (None, 0)] {
        let tables = tables(cpus, true, transports);
        let mut files: BTreeMap<_, _> = tables.files().into_iter().collect();
        let script = files.remove("etc/table-loader").unwrap();
        let place = |name: &str| if name == "etc/acpi/rsdp" { 0xe_0000 } else { 0xe_0040 };
        assert_eq!(script.len() % 128, 0);
        for command in script.chunks(128) {
            let text = |at: usize| {
                let name = command[at..at + 56].split(|byte| *byte == 0).next().unwrap();
                String::from_utf8(name.to_vec()).unwrap()
            };
            let file = files.get_mut(&text(4)).unwrap();
            match le(command, 0, 4) {
                1 => assert!(file.len() > 30),
                2 => {
                    let (at, size) = (le(command, 116, 4), usize::from(command[120]));
                    let address = le(file, at, size) + place(&text(60));
                    file[at..at + size].copy_from_slice(&address.to_le_bytes()[..size]);
                }
                3 => {
                    let [at, start, len] = [60, 64, 68].map(|field| le(command, field, 4));
                    let sum = file[start..start + len].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                    file[at] = file[at].wrapping_sub(sum);
                }
                other => unreachable!("{other}"),
            }
        }
        assert_eq!(files["etc/acpi/rsdp"], tables.bytes[..36]);
        assert_eq!(files["etc/acpi/tables"], tables.bytes[64..]);
    }
}

#[test]
fn test_the_generation_is_at_the_address_of_its_device() {
    let with = tables(Some(1), true, 0);
    let dsdt = found(&with)["DSDT"].to_vec();
    assert_eq!((count(&dsdt, b"QEMUVGID"), count(&dsdt, b"VM_Gen_Counter"), count(&dsdt, b"QEMU0001")), (1, 2, 1));
    // ADDR, a package of two numbers, the first of 32 bits.
    let name = dsdt.windows(4).position(|window| window == b"ADDR").unwrap();
    let address = le(&dsdt, name + 4 + 3 + 1, 4);
    assert_eq!((dsdt[name + 4 + 3], address % 8), (0x0c, 0));
    assert_eq!(with.bytes[address - 0xe_0000..][..16], GENERATION);
    let without = tables(Some(1), false, 0);
    assert_eq!(count(found(&without)["DSDT"], b"QEMUVGID"), 0);
}
