//! The run states of a machine.

use serde::{Deserialize, Serialize};

/// QEMU's run states, as far as a machine can reach them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Created or reset, and not started.
    Prelaunch,
    /// The vCPUs run.
    Running,
    /// Stopped by [`Command::Pause`](crate::Command::Pause).
    Paused,
    /// Stopped by a breakpoint, a watchpoint or a step.
    Debug,
    /// The guest's kernel reported a panic, under [`Policy::no_shutdown`](crate::Policy::no_shutdown).
    GuestPanicked,
    /// A vCPU met what the accelerator cannot handle.
    InternalError,
    /// The guest shut down, or the machine was ended.
    Shutdown,
}

impl RunState {
    /// QEMU's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Debug => "debug",
            Self::GuestPanicked => "guest-panicked",
            Self::InternalError => "internal-error",
            Self::Shutdown => "shutdown",
        }
    }
}
