//! The MP table (Intel MultiProcessor Specification 1.4): lists the processors and interrupt lines, for guests without
//! ACPI.
//!
//! Without a table, Linux would search 128 KiB for one, 16 bytes at a time, each with its own page mapping.

use crate::MachineConfigError;
use crate::apic::{ALL_PROCESSORS, IOAPIC, LOCAL_APIC, apic_ids};
use crate::checksum::set_checksum;
use crate::devices::IOAPIC_PINS;
use crate::layout::EBDA;
use kvm_accel::GuestRam;
use kvm_accel::cpu::Topology;
use vm_memory::{Bytes, GuestAddress};

/// Where the floating pointer lies: in the extended BIOS data area, which guests search first, behind the area's size.
const FLOATING_POINTER: u64 = EBDA + 0x10;
/// Where the table lies: the BIOS area of a PC, which the memory map never lists as usable RAM.
const TABLE: u32 = 0xf_0000;

const SPECIFICATION_1_4: u8 = 4;
const LOCAL_APIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x11;
/// Interrupt lines, one for each pin of the IOAPIC. Line n is pin n, as in the accelerator's routing table
/// ([`kvm_accel::interrupts::routing`]). The timer's line is pin 2 instead, because line 2 cascades the second PIC. Lines
/// from 16 on exist on no ISA bus. The table lists them there all the same, because guests take the number of an ISA line
/// for that of the interrupt, and its trigger mode for edges.
const LINES: u8 = IOAPIC_PINS;
const CASCADE: u8 = 2;
const TIMER_PIN: u8 = 2;
const ISA_BUS: u8 = 0;

const HEADER_LEN: usize = 44;
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;

/// Writes the table for the processors of a topology.
///
/// # Errors
/// Fails if there are more processors than xAPIC ids.
pub fn write(ram: &GuestRam, topology: &Topology) -> Result<(), MachineConfigError> {
    let ids = apic_ids(topology)?;
    // Both places are below 1 MiB, and the smallest RAM is that large: the writes fit.
    let outside = |_| {
        MachineConfigError::new(
            "memory",
            "the memory is too small: RAM ends below the MP table",
            "Give at least 1 MiB.",
        )
    };
    ram.write_slice(&table(&ids), GuestAddress(TABLE.into())).map_err(outside)?;
    ram.write_slice(&floating_pointer(), GuestAddress(FLOATING_POINTER)).map_err(outside)
}

fn floating_pointer() -> Vec<u8> {
    let mut bytes = b"_MP_".to_vec();
    bytes.extend(TABLE.to_le_bytes());
    // Length in units of 16 bytes, specification, checksum, features: a table follows, virtual wire mode.
    bytes.extend([1, SPECIFICATION_1_4, 0, 0, 0, 0, 0, 0]);
    set_checksum(&mut bytes, 10);
    bytes
}

fn table(ids: &[u8]) -> Vec<u8> {
    let ioapic_id = ids.last().map_or(0, |last| last + 1);
    let mut entries: Vec<Vec<u8>> = ids.iter().copied().map(processor).collect();
    entries.push([&[BUS, ISA_BUS][..], b"ISA   "].concat());
    entries.push([&[IO_APIC, ioapic_id, IOAPIC_VERSION, 1][..], &IOAPIC.to_le_bytes()].concat());
    entries.extend((0..LINES).filter(|&line| line != CASCADE).map(|line| {
        let pin = if line == 0 { TIMER_PIN } else { line };
        vec![IO_INTERRUPT, INT, 0, 0, ISA_BUS, line, ioapic_id, pin]
    }));
    entries.push(vec![LOCAL_INTERRUPT, EXT_INT, 0, 0, ISA_BUS, 0, 0, 0]);
    entries.push(vec![LOCAL_INTERRUPT, NMI, 0, 0, ISA_BUS, 0, ALL_PROCESSORS, 1]);

    let body = entries.concat();
    let length = u16::try_from(HEADER_LEN + body.len()).unwrap_or(u16::MAX);
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    let mut bytes = b"PCMP".to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend([SPECIFICATION_1_4, 0]);
    bytes.extend(b"KVMACCELMACHINE     ");
    // There is no OEM table.
    bytes.extend([0; 6]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(LOCAL_APIC.to_le_bytes());
    // There is no extended table.
    bytes.extend([0; 4]);
    bytes.extend(body);
    set_checksum(&mut bytes, 7);
    bytes
}

fn processor(id: u8) -> Vec<u8> {
    const ENABLED: u8 = 1;
    const BOOT_PROCESSOR: u8 = 2;
    let flags = if id == 0 { ENABLED | BOOT_PROCESSOR } else { ENABLED };
    // Signature and features stay 0: a guest reads them with CPUID.
    [&[PROCESSOR, id, LOCAL_APIC_VERSION, flags][..], &[0; 16]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn test_checksums_are_zero_and_lengths_true() {
        assert_eq!((floating_pointer().len(), sum(&floating_pointer())), (16, 0));
        for cpus in [1, 2, 255] {
            let table = table(&(0..cpus).collect::<Vec<_>>());
            assert_eq!(sum(&table), 0);
            assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
            assert_eq!(table.len(), HEADER_LEN + usize::from(cpus) * 20 + (1 + 1 + 23 + 2) * 8);
        }
    }

    #[test]
    fn test_each_line_is_at_its_pin() {
        let table = table(&[0]);
        let lines: Vec<_> = table[HEADER_LEN + 20 + 16..].chunks(8).filter(|entry| entry[0] == IO_INTERRUPT).collect();
        let at = |line: u8| {
            lines.iter().find(|entry| entry[5] == line).map(|entry| (entry[1], entry[2], entry[6], entry[7]))
        };
        assert_eq!(at(0), Some((INT, 0, 1, 2)));
        assert_eq!(at(2), None);
        for line in (1..24).filter(|line| *line != 2) {
            assert_eq!(at(line), Some((INT, 0, 1, line)), "a conforming line is edge-triggered and active high");
        }
        assert_eq!(lines.len(), 23);
    }

    #[test]
    fn test_write_refuses_more_processors_than_ids() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        assert!(write(&ram, &Topology::of_cores(255)).is_ok());
        assert_eq!(write(&ram, &Topology::of_cores(256)).unwrap_err().option(), "cpus");
    }
}
