//! `kernel-irqchip=on|split|off`.

use crate::{Error, Result};
use std::str::FromStr;

/// Where the interrupt controllers live. `off` is refused until user-space PIC and PIT exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelIrqchip {
    /// PIC, IOAPIC, local APICs and PIT in the kernel.
    On,
    /// Local APICs in the kernel; no other interrupt source yet.
    Split,
}

impl FromStr for KernelIrqchip {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        let rule = match value {
            "on" => return Ok(Self::On),
            "split" => return Ok(Self::Split),
            "off" => "does not take 'off': not implemented yet".to_owned(),
            other => format!("does not accept value '{other}': on, off or split"),
        };
        Err(Error::Property { property: "kernel-irqchip", rule })
    }
}
