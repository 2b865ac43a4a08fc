//! `kernel-irqchip=on|split|off`.

use crate::{Error, Result};
use std::str::FromStr;

/// Where the interrupt controllers are emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelIrqchip {
    /// PIC, IOAPIC, local APICs and PIT in the kernel.
    On,
    /// Local APICs in the kernel; the machine emulates IOAPIC, PIC and PIT.
    Split,
    /// The machine emulates PIC and PIT, for one vCPU without an APIC.
    Off,
}

impl FromStr for KernelIrqchip {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let rule = match value {
            "on" => return Ok(Self::On),
            "split" => return Ok(Self::Split),
            "off" => return Ok(Self::Off),
            other => format!("does not accept value '{other}': expected on, off or split"),
        };
        Err(Error::Property { property: "kernel-irqchip", rule })
    }
}
