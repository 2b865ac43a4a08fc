//! FADT: the fixed registers, and the PC hardware that this board lacks.

use super::{Description, HardwareId, OEM_ID, OEM_REVISION, OEM_TABLE_ID};
use crate::devices::{ACPI_PM_BASE, I8042_COMMAND_PORT, PM_CONTROL, PM_TIMER, PULSE_RESET};
use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

/// The line of the system control interrupt. No device of this board raises it.
pub const SCI: u8 = 9;

/// Latencies that mean that C2 and C3 are not supported.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;

/// IA-PC boot architecture flags. The flag of a keyboard controller to probe stays clear.
const LEGACY_DEVICES: u16 = 1;
const VGA_NOT_PRESENT: u16 = 1 << 2;
const CMOS_RTC_NOT_PRESENT: u16 = 1 << 5;

pub fn fadt(board: &Description<'_>, dsdt: u32, facs: u32) -> FADT {
    let port =
        |offset: u16, bits, access| GAS::new(AddressSpace::SystemIo, bits, 0, access, (ACPI_PM_BASE + offset).into());
    let has_rtc = board.platform.iter().any(|entry| entry.id == HardwareId::RTC);
    let rtc = if has_rtc { 0 } else { CMOS_RTC_NOT_PRESENT };
    let mut table = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    table.dsdt = dsdt.into();
    table.x_dsdt = u64::from(dsdt).into();
    table.firmware_ctrl = facs.into();
    table.sci_int = u16::from(SCI).into();
    table.pm1a_evt_blk = u32::from(ACPI_PM_BASE).into();
    table.pm1a_cnt_blk = u32::from(ACPI_PM_BASE + PM_CONTROL).into();
    table.pm_tmr_blk = u32::from(ACPI_PM_BASE + PM_TIMER).into();
    table.x_pm1a_evt_blk = port(0, 32, AccessSize::WordAccess);
    table.x_pm1a_cnt_blk = port(PM_CONTROL, 16, AccessSize::WordAccess);
    table.x_pm_tmr_blk = port(PM_TIMER, 32, AccessSize::DwordAccess);
    table.pm1_evt_len = 4;
    table.pm1_cnt_len = 2;
    table.pm_tmr_len = 4;
    table.p_lvl2_lat = NO_C2.into();
    table.p_lvl3_lat = NO_C3.into();
    table.iapc_boot_arch = (LEGACY_DEVICES | VGA_NOT_PRESENT | rtc).into();
    table.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, I8042_COMMAND_PORT.into());
    table.reset_value = PULSE_RESET;
    // The buttons' flags mean that the buttons are not fixed hardware. The DSDT has no buttons either.
    [
        Flags::Wbinvd,
        Flags::ProcC1,
        Flags::PwrButton,
        Flags::SlpButton,
        Flags::FixRtc,
        Flags::ResetRegSup,
        Flags::Headless,
    ]
    .into_iter()
    .fold(table, FADTBuilder::flag)
    .finalize()
}
