//! What the control thread does when the guest stops by itself.

use serde::{Deserialize, Serialize};

/// Decides what a guest's own reset, power-off or panic does to its machine (QEMU's `-no-reboot` and `-no-shutdown`). It is passed
/// down when the machine is created, so that the control thread decides alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A reset by the guest ends the machine.
    pub no_reboot: bool,
    /// A machine whose guest has shut down stays in run state `shutdown` (or `guest-panicked`) until the host ends it.
    pub no_shutdown: bool,
}
