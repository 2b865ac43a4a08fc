//! What a command is answered with.

use kvm_accel::VcpuState;
use kvm_accel::debug::DebugStop;
use kvm_accel::vcpu::NotifyStatus;
use serde::{Deserialize, Serialize};

/// The result of a [`Command`](crate::Command) that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "value")]
pub enum Reply {
    /// Done; there is nothing more to say.
    Done,
    /// The machine exists. The first reply of all, with id 0.
    Created {
        /// What became of the notify properties.
        notify: NotifyStatus,
        /// The kernel lets guests be debugged (`KVM_CAP_SET_GUEST_DEBUG`).
        debug: bool,
    },
    /// The machine has stopped after a step: at a breakpoint or after the instruction; none when the guest ended, reset itself or was
    /// paused before.
    Stepped(Option<DebugStop>),
    /// To [`Command::InjectNotify`](crate::Command::InjectNotify): false when 64 injections already wait for the vCPU.
    Injected(bool),
    /// A vCPU's register file.
    VcpuState(Box<VcpuState>),
    /// Guest memory.
    Memory(Vec<u8>),
    /// The index of an added device.
    Device(u32),
    /// Start and length in bytes of each run of dirty pages, in ascending order.
    DirtyPages(Vec<(u64, u64)>),
    /// Pages that each vCPU has dirtied.
    DirtyTotals(Vec<u64>),
}
