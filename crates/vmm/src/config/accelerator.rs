//! The properties of `-accel kvm`.

use kvm_accel::properties::{NotifyBudget, NotifyProperties, dirty_ring_size, shadow_mem};
use kvm_accel::{AccelProperties, Error};
use serde::{Deserialize, Serialize};

/// The accelerator's properties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccelConfig {
    /// `kernel-irqchip`: `on`, `split` or `off`.
    pub kernel_irqchip: String,
    /// `kvm-shadow-mem` in bytes; none or -1 leaves it to the kernel.
    pub kvm_shadow_mem: Option<i64>,
    /// `dirty-ring-size` in entries for each vCPU; 0 is the dirty bitmap.
    pub dirty_ring_size: u32,
    /// `notify-vmexit`: `run`, `internal-error` or `disable`.
    pub notify_vmexit: String,
    /// `notify-window` in clock cycles.
    pub notify_window: u32,
    /// `notify-required`: fail on a host that cannot enforce the policy.
    pub notify_required: bool,
    /// `notify-budget`; none is unlimited.
    pub notify_budget: Option<NotifyBudgetConfig>,
    /// `device`: the path of the KVM device.
    pub device: String,
    /// The user set the policy or the window. If the host cannot enforce it, the user gets a warning.
    pub notify_asked: bool,
}

/// `notify-budget=N/T`: more than N notify exits within T seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyBudgetConfig {
    /// N, at least 1.
    pub exits: u32,
    /// T, at least 1.
    pub seconds: u32,
}

impl AccelConfig {
    pub(super) fn check(self) -> Result<AccelProperties, Error> {
        Ok(AccelProperties {
            kernel_irqchip: self.kernel_irqchip.parse()?,
            // The board replaces this value.
            pit: true,
            shadow_mem: shadow_mem(self.kvm_shadow_mem.unwrap_or(-1))?,
            dirty_ring_size: dirty_ring_size(self.dirty_ring_size)?,
            notify: NotifyProperties {
                policy: self.notify_vmexit.parse()?,
                window: self.notify_window,
                required: self.notify_required,
                asked: self.notify_asked,
                budget: self.notify_budget.map(|budget| NotifyBudget::new(budget.exits, budget.seconds)).transpose()?,
            },
            device: self.device.into(),
        })
    }
}
