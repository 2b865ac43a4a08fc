//! MADT: the local APICs, the IOAPIC, and the ISA lines whose IOAPIC pin or trigger mode differs from the default.

use super::fadt::SCI;
use super::{bytes_of, table};
use crate::MachineConfigError;
use crate::apic::{ALL_PROCESSORS, IOAPIC, LOCAL_APIC, apic_ids};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::sdt::Sdt;
use kvm_accel::cpu::Topology;

/// The two 8259 exist. A guest has to mask them before it uses the APICs.
const PCAT_COMPAT: u32 = 1;

const INTERRUPT_SOURCE_OVERRIDE: u8 = 2;
const LOCAL_APIC_NMI: u8 = 4;

/// The polarity and trigger mode of an override.
const CONFORMING: u16 = 0;
const LEVEL_HIGH: u16 = 0b1101;

pub fn madt(processors: Topology, pic: bool) -> Result<Sdt, MachineConfigError> {
    let ids = apic_ids(&processors)?;
    let mut madt = table(*b"APIC", 5);
    madt.append_slice(&LOCAL_APIC.to_le_bytes());
    madt.append_slice(&if pic { PCAT_COMPAT } else { 0 }.to_le_bytes());
    let ioapic_id = ids.last().map_or(0, |last| last + 1);
    for (uid, id) in (0..=u8::MAX).zip(ids) {
        madt.append_slice(&bytes_of(&ProcessorLocalApic::new(uid, id, EnabledStatus::Enabled)));
    }
    madt.append_slice(&bytes_of(&IoApic::new(ioapic_id, IOAPIC, 0)));
    // The routing table connects the timer's line to pin 2.
    madt.append_slice(&source_override(0, 2, CONFORMING));
    madt.append_slice(&source_override(SCI, SCI, LEVEL_HIGH));
    // The NMI is at input 1 of each local APIC, as in the MP table.
    madt.append_slice(&[LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1]);
    Ok(madt)
}

fn source_override(line: u8, gsi: u8, flags: u16) -> Vec<u8> {
    const ISA_BUS: u8 = 0;
    [&[INTERRUPT_SOURCE_OVERRIDE, 10, ISA_BUS, line][..], &u32::from(gsi).to_le_bytes(), &flags.to_le_bytes()].concat()
}
