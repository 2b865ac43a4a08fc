//! Platform devices. Each has its own lock and knows neither its address nor the accelerator.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `acpi_pm`: ACPI's power management registers.
//! - `pic`, `ioapic`, `pit`: interrupt controllers and the timer outside the kernel.
//! - `reset`: the registers by which a guest resets the machine.
//! - `hpet`: the HPET.
//! - `fw_cfg`: QEMU's firmware configuration device.
//! - `pvpanic`: reports a panic of the guest's kernel.
//! - `debug_exit`: a port that ends the machine.
//! - `test_device`: QEMU's `pc-testdev`.
//! - `serial_output`: writes bytes of a serial port to a file, a socket or a terminal.
//! - `serial`: serial ports.
//! - `debug_console`: debug consoles.
//! - `rtc`: the CMOS clock.
//! - `answers`: requests of vCPU threads that another thread answers.
//! - `delegated_msrs`, `delegated`: MSRs and devices that another thread implements.

mod acpi_pm;
mod answers;
mod debug_console;
mod debug_exit;
mod delegated;
mod delegated_msrs;
mod fw_cfg;
mod hpet;
mod ioapic;
mod pic;
mod pit;
mod pvpanic;
mod reset;
mod rtc;
mod serial;
mod serial_output;
mod test_device;

pub use acpi_pm::{ACPI_PM_BASE, ACPI_PM_PORTS, AcpiPm, PM_CONTROL, PM_TIMER, S5_SLEEP_TYPE};
pub use debug_console::DebugConsole;
pub use debug_exit::{DEBUG_EXIT_IOBASE, DEBUG_EXIT_IOSIZE, DebugExit};
pub use delegated::{Access, Asked, Delegated, DelegatedDevices, Next, SetLine, WasReset};
pub use delegated_msrs::{Asks, DelegatedMsrs, MsrAccess, MsrAsked};
pub use fw_cfg::{FW_CFG_BASE, FW_CFG_PORTS, FwCfg, FwCfgItems, MAX_FILE_NAME, key as fw_cfg_key};
pub use hpet::{HPET_BASE, HPET_CAPABILITIES, HPET_CLOCK_LINE, HPET_SIZE, HPET_TIMER_LINE, Hpet, HpetLines};
pub use ioapic::{IOAPIC_BASE, IOAPIC_LEN, IOAPIC_PINS, Ioapic, Written};
pub use pic::{PIC_ELCR, PIC_MASTER, PIC_SLAVE, Pic};
pub use pit::{PIT_BASE, PIT_FREQUENCY, PORT_B, Pit};
pub use pvpanic::{PVPANIC_PORT, Pvpanic};
pub use reset::{I8042, I8042_COMMAND_PORT, I8042_DATA_PORT, I8042Commands, I8042Data, PULSE_RESET, ResetPort};
pub use rtc::{RTC_BASE, RTC_IRQ, RTC_PORTS, Rtc, RtcConfig};
pub use serial::{
    COM1_BASE, COM1_IRQ, COM1_PORTS, InputDrained, Irq, MORE_COM_PORTS, SERIAL_INPUT_CAPACITY, SerialPort,
};
pub use serial_output::SerialOutput;
pub use test_device::{
    TEST_BYTE_LATCH_BASE, TEST_FLUSH_BASE, TEST_LATCH_BASE, TEST_LATCH_PORTS, TEST_LINES_BASE, TEST_LINES_PORTS,
    TEST_MEMORY_BASE, TEST_MEMORY_SIZE, TestFlush, TestLatch, TestLines,
};
