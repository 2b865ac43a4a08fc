//! The HPET's description table.

use super::table;
use crate::devices::{HPET_BASE, HPET_CAPABILITIES};
use acpi_tables::sdt::Sdt;

/// Builds the table (IA-PC HPET specification 1.0a, section 3.2.4).
pub fn hpet() -> Sdt {
    /// Registers in memory, 64 bits wide, without an access size.
    const MEMORY_64: [u8; 4] = [0, 64, 0, 0];
    let mut table = table(*b"HPET", 1);
    table.append_slice(&HPET_CAPABILITIES.to_le_bytes());
    table.append_slice(&MEMORY_64);
    table.append_slice(&HPET_BASE.to_le_bytes());
    // The number of this HPET, the shortest period without lost ticks (100 us, in ticks of 10 ns), no page protection.
    table.append_slice(&[0]);
    table.append_slice(&10_000_u16.to_le_bytes());
    table.append_slice(&[0]);
    table
}
