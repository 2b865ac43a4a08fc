//! Replies to commands.

use kvm_accel::VcpuState;
use kvm_accel::debug::DebugStop;
use kvm_accel::vcpu::NotifyStatus;
use serde::{Deserialize, Serialize};

/// The result of a [`Command`](crate::Command) that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "value")]
pub enum Reply {
    /// The command has no result.
    Done,
    /// The machine has been created. The first reply, with id 0.
    Created {
        /// The state of the notify VM exit properties.
        notify: NotifyStatus,
        /// The kernel supports guest debugging (`KVM_CAP_SET_GUEST_DEBUG`).
        debug: bool,
    },
    /// The machine has stopped after a step: at a breakpoint or after the instruction. `None` if the guest ended, reset itself or was
    /// paused first.
    Stepped(Option<DebugStop>),
    /// The result of [`Command::InjectNotify`](crate::Command::InjectNotify): false if 64 injections are already queued for the vCPU.
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
