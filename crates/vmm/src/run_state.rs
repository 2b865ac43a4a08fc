//! The run states of a machine.

use serde::{Deserialize, Serialize};

/// QEMU's run states, those that a machine of this package can enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// The machine was created or reset, and has not been started.
    Prelaunch,
    /// The vCPUs run.
    Running,
    /// Stopped by [`Command::Pause`](crate::Command::Pause).
    Paused,
    /// Stopped by a breakpoint, a watchpoint or a step.
    Debug,
    /// The guest's kernel reported a panic, under [`Policy::no_shutdown`](crate::Policy::no_shutdown).
    GuestPanicked,
    /// A vCPU stopped at an error that the accelerator cannot handle.
    InternalError,
    /// The guest shut down, or the machine was ended.
    Shutdown,
}

impl RunState {
    /// Returns QEMU's name of the state.
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
