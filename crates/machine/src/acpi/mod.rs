//! ACPI: tables in guest memory that describe the board's hardware (ACPI specification 6.5).
//!
//! [`Tables`] are the bytes, laid out from [`RSDP`] on. Guests search there for the root pointer, and boot protocols
//! pass that address.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `entry`: the entries of platform devices.
//! - `wake`: the processor state after a sleep.
//! - `fadt`: the fixed registers, and the PC hardware that the board lacks.
//! - `madt`: the interrupt controllers.
//! - `hpet`: the HPET.
//! - `dsdt`: the devices, as AML, and the address of the machine's generation (QEMU's docs/specs/vmgenid).
//! - `loader`: the same tables for firmware, which places them itself.
//!
//! [`crate::devices::AcpiPm`] implements the registers that the tables describe. The reset register is the keyboard
//! controller's.

mod dsdt;
mod entry;
mod fadt;
mod hpet;
mod loader;
mod madt;
mod wake;

pub use entry::{HardwareId, PlatformEntry};
pub use wake::waking_registers;

use crate::MachineConfigError;
use crate::checksum::set_checksum;
use crate::virtio::transports::Place;
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use kvm_accel::GuestRam;
use kvm_accel::cpu::Topology;
use vm_memory::{Bytes, GuestAddress};

/// The address of the root pointer: the start of the area that guests search for it.
pub const RSDP: u64 = 0xe_0000;
/// The highest end of the tables: the MP table follows.
const END: u64 = 0xf_0000;
/// The alignment of all tables. FACS requires it.
const ALIGN: usize = 64;

const OEM_ID: [u8; 6] = *b"KVMACC";
const OEM_TABLE_ID: [u8; 8] = *b"KVMACCEL";
const OEM_REVISION: u32 = 1;

/// The parts of a board that the tables describe.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// The processors; `None` if they have no local APICs.
    pub processors: Option<Topology>,
    /// Whether the two 8259 exist.
    pub pic: bool,
    /// Whether there is an HPET.
    pub hpet: bool,
    /// Platform devices.
    pub platform: &'a [PlatformEntry],
    /// The machine's generation, as the 16 bytes that guests read.
    pub generation: Option<[u8; 16]>,
    /// Virtio transports.
    pub virtio: &'a [Place],
}

/// All ACPI tables of a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    bytes: Vec<u8>,
    facs: u32,
    dsdt: u32,
    /// The address of the field of the DSDT that holds the generation's address.
    generation: Option<u32>,
}

impl Tables {
    /// Builds the tables.
    ///
    /// # Errors
    /// Fails if there are more processors than xAPIC ids, or the tables are longer than 64 KiB.
    pub fn new(board: &Description<'_>) -> Result<Self, MachineConfigError> {
        let mut layout = Layout(vec![0; Rsdp::len()]);
        let generation = board.generation.map(|generation| layout.place(&generation));
        let text = dsdt::dsdt(board, generation);
        let dsdt = layout.place(text.as_slice());
        let generation = generation.and_then(|address| Some(dsdt + dsdt::find_address(text.as_slice(), address)?));
        let facs = layout.place(&bytes_of(&FACS::new()));
        let fadt = layout.place(&bytes_of(&fadt::fadt(board, dsdt, facs)));
        let madt = board
            .processors
            .map(|processors| madt::madt(processors, board.pic))
            .transpose()?
            .map(|madt| layout.place(madt.as_slice()));
        let hpet = board.hpet.then(|| layout.place(hpet::hpet().as_slice()));

        let mut rsdt = table(*b"RSDT", 1);
        let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
        for address in [Some(fadt), madt, hpet].into_iter().flatten() {
            rsdt.append_slice(&address.to_le_bytes());
            xsdt.add_entry(address.into());
        }
        let rsdt = layout.place(rsdt.as_slice());
        let xsdt = layout.place(&bytes_of(&xsdt));
        let Layout(mut bytes) = layout;
        bytes[..Rsdp::len()].copy_from_slice(&rsdp(rsdt, xsdt));
        if RSDP + bytes.len() as u64 > END {
            let message = "the ACPI tables of these devices and vCPUs exceed 64 KiB";
            return Err(MachineConfigError::new("acpi", message, "Use fewer devices or vCPUs."));
        }
        Ok(Self { bytes, facs, dsdt, generation })
    }

    /// Writes the tables to guest memory.
    ///
    /// # Errors
    /// Fails if RAM ends below the tables, which does not happen with a valid [`RamLayout`](crate::layout::RamLayout).
    pub fn write(&self, ram: &GuestRam) -> Result<(), MachineConfigError> {
        let outside = |_| {
            MachineConfigError::new(
                "memory",
                "the memory is too small: RAM ends below the ACPI tables",
                "Give at least 1 MiB.",
            )
        };
        ram.write_slice(&self.bytes, GuestAddress(RSDP)).map_err(outside)
    }

    /// Returns the guest's waking vector, at which it resumes in real mode after a sleep; `None` if it has set none.
    #[must_use]
    pub fn waking_vector(&self, ram: &GuestRam) -> Option<u32> {
        const WAKING_VECTOR: u64 = 12;
        let vector = ram.read_obj(GuestAddress(u64::from(self.facs) + WAKING_VECTOR)).ok()?;
        Some(u32::from_le(vector)).filter(|vector| (1..1 << 20).contains(vector))
    }
}

/// The tables that are placed so far, from [`RSDP`] on.
struct Layout(Vec<u8>);

impl Layout {
    /// Appends a table and returns its address.
    fn place(&mut self, table: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        let offset = self.0.len();
        self.0.extend(table);
        // Below 1 MiB. `Tables::new` refuses tables that are too long.
        u32::try_from(RSDP + offset as u64).unwrap_or(u32::MAX)
    }
}

/// Builds the root pointer. The library's contains the XSDT only, but older guests read the RSDT.
fn rsdp(rsdt: u32, xsdt: u32) -> Vec<u8> {
    const CHECKSUM: usize = 8;
    const RSDT: usize = 16;
    /// The number of bytes that the first checksum covers.
    const REVISION_0_LEN: usize = 20;
    const EXTENDED_CHECKSUM: usize = 32;
    let mut bytes = bytes_of(&Rsdp::new(OEM_ID, xsdt.into()));
    bytes[RSDT..RSDT + 4].copy_from_slice(&rsdt.to_le_bytes());
    set_checksum(&mut bytes[..REVISION_0_LEN], CHECKSUM);
    set_checksum(&mut bytes, EXTENDED_CHECKSUM);
    bytes
}

/// Returns a table that has only its header.
fn table(signature: [u8; 4], revision: u8) -> Sdt {
    const HEADER_LEN: u32 = 36;
    Sdt::new(signature, HEADER_LEN, revision, OEM_ID, OEM_TABLE_ID, OEM_REVISION)
}

fn bytes_of(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
