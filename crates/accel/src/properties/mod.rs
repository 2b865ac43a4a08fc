//! Accelerator properties as a validated type. TypeScript parses QEMU's text; this is the second check.

mod kernel_irqchip;
mod notify;

pub use kernel_irqchip::KernelIrqchip;
pub use notify::{NotifyBudget, NotifyPolicy, NotifyProperties};

use crate::{Error, Result};
use std::path::PathBuf;

/// The device that QEMU's accelerator opens if `device` is not set.
pub const DEFAULT_DEVICE: &str = "/dev/kvm";

/// The properties of `-accel kvm`, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelProperties {
    /// `kernel-irqchip`.
    pub kernel_irqchip: KernelIrqchip,
    /// Whether the PIT is in the kernel if the other chips are. The machine decides.
    pub pit: bool,
    /// `kvm-shadow-mem`, in bytes; `None` (-1) leaves it to the kernel.
    pub shadow_mem: Option<u64>,
    /// `dirty-ring-size`: entries of each vCPU's dirty ring; 0 is the bitmap.
    pub dirty_ring_size: u32,
    /// `notify-vmexit`, `notify-window`, `notify-required`, `notify-budget`.
    pub notify: NotifyProperties,
    /// `device`.
    pub device: PathBuf,
}

impl Default for AccelProperties {
    fn default() -> Self {
        Self {
            kernel_irqchip: KernelIrqchip::On,
            pit: true,
            shadow_mem: None,
            dirty_ring_size: 0,
            notify: NotifyProperties::default(),
            device: DEFAULT_DEVICE.into(),
        }
    }
}

/// Checks `kvm-shadow-mem` (bytes; -1 leaves it to the kernel).
///
/// # Errors
/// A negative size other than -1.
pub fn shadow_mem(bytes: i64) -> Result<Option<u64>> {
    match bytes {
        -1 => Ok(None),
        _ => u64::try_from(bytes).map(Some).map_err(|_| Error::Property {
            property: "kvm-shadow-mem",
            rule: format!("is {bytes}: expected a size in bytes from 0 on, or -1 for the kernel's default"),
        }),
    }
}

/// Checks `dirty-ring-size` (entries per vCPU; 0 is the bitmap). The kernel's limits are checked when the ring is
/// enabled.
///
/// # Errors
/// A size that is not a power of two.
pub fn dirty_ring_size(entries: u32) -> Result<u32> {
    if entries == 0 || entries.is_power_of_two() {
        return Ok(entries);
    }
    Err(Error::Property {
        property: "dirty-ring-size",
        rule: format!("is {entries}: expected a power of two, or 0 for the bitmap"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_shadow_mem_refuses_negative_sizes_but_minus_one() {
        assert_eq!(shadow_mem(-1), Ok(None));
        assert_eq!(shadow_mem(262_144), Ok(Some(262_144)));
        assert!(shadow_mem(-2).is_err());
    }

    #[test]
    fn test_dirty_ring_size_is_a_power_of_two_or_none() {
        for good in [0, 1, 128, 1024, 1 << 31] {
            assert_eq!(dirty_ring_size(good), Ok(good));
        }
        assert!(dirty_ring_size(3).unwrap_err().to_string().contains("power of two"));
    }
}
