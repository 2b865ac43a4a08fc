//! What the control thread does when the guest stops by itself.

use serde::{Deserialize, Serialize};

/// What a reset, a power-off or a panic of the guest does to its machine (QEMU's `-no-reboot` and `-no-shutdown`). The policy is set when
/// the machine is created, so that the control thread decides without asking the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A reset by the guest ends the machine.
    pub no_reboot: bool,
    /// After a shutdown of the guest, the machine stays in run state `shutdown` (or `guest-panicked`) until the host ends it.
    pub no_shutdown: bool,
}
