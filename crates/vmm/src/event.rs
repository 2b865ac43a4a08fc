//! What happens in a machine by itself.

use crate::{Failure, RunState};
use kvm_accel::debug::DebugStop;
use kvm_accel::{BusLockEvent, NotifyEvent, Warning};
use kvm_accel_machine::devices::{Access, MsrAccess};
use serde::{Deserialize, Serialize};

/// An event. Events and replies reach the caller in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event", content = "data")]
pub enum Event {
    /// A notify VM exit, real or injected.
    Notify {
        /// The exit.
        exit: Box<NotifyEvent>,
        /// Events that did not fit the queue before this one.
        dropped: u32,
    },
    /// A bus lock.
    BusLock {
        /// The bus lock.
        lock: Box<BusLockEvent>,
        /// As for [`Event::Notify`].
        dropped: u32,
    },
    /// Something a user should read.
    Warning(Warning),
    /// The machine entered run state `running`.
    Resume,
    /// The machine left run state `running`. All vCPUs are outside the guest, and every device is still.
    Stop {
        /// The state it is in now.
        state: RunState,
        /// How the guest ended; none for a pause or a debug stop.
        exit: Option<Exit>,
    },
    /// A breakpoint, a watchpoint or a step stopped the machine; follows [`Event::Stop`].
    Debug(DebugStop),
    /// The machine was put back to power-on.
    Reset {
        /// The guest asked for it.
        guest: bool,
        /// The state it is in now: `running` or `prelaunch`.
        state: RunState,
    },
    /// The machine ended. Unless [`Policy::no_shutdown`](crate::Policy::no_shutdown) keeps it, [`Event::Closed`] follows.
    Shutdown {
        /// Why.
        reason: ExitReason,
        /// How it ended: the first end that was reported, if there were several.
        exit: Exit,
    },
    /// The guest accesses a device of the caller's, and its vCPU waits for the answer.
    DeviceAccess {
        /// The device's index.
        device: u32,
        /// The access.
        access: Access,
    },
    /// The guest accesses an MSR of the caller's, and its vCPU waits for the answer.
    MsrAccess(MsrAccess),
    /// A connection to the guest by vsock was accepted or refused.
    VsockConnected {
        /// The caller's number of the attempt.
        id: u32,
        /// The host's port.
        host_port: u32,
        /// Why it was refused.
        error: Option<Failure>,
    },
    /// The guest has connected to a vsock port that the caller listens to.
    VsockConnection {
        /// The host's port.
        host_port: u32,
    },
    /// The balloon has another size. Emitted again only after the size was read.
    BalloonChange,
    /// A serial port accepts input again.
    InputDrained {
        /// The port, COM1 being 0.
        port: u32,
    },
    /// All threads have ended and the VM is closed. The last message of all.
    Closed,
}

impl Event {
    /// True if a full queue may drop the event and count it. What stops or ends a machine, or what a vCPU waits for, is never
    /// dropped. A guest can reset itself thousands of times in a second; its machine runs before and after.
    pub(crate) const fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Notify { .. } | Self::BusLock { .. } | Self::Warning(_) | Self::Reset { guest: true, .. })
    }
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    pub reason: ExitReason,
    /// With [`ExitReason::DebugExit`]: the process status that QEMU would end with, `(value << 1) | 1`.
    pub status: Option<u8>,
    /// With [`ExitReason::InternalError`]: what happened, in one line.
    pub detail: Option<String>,
    /// With [`ExitReason::InternalError`]: registers and code bytes as QEMU prints them.
    pub report: Option<String>,
}

impl From<ExitReason> for Exit {
    fn from(reason: ExitReason) -> Self {
        Self { reason, status: None, detail: None, report: None }
    }
}

/// Why a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// The guest powered off.
    GuestShutdown,
    /// The guest's kernel reported a panic to `pvpanic`.
    GuestPanicked,
    /// The guest reset itself under [`Policy::no_reboot`](crate::Policy::no_reboot).
    GuestReset,
    /// The guest wrote to `isa-debug-exit`.
    DebugExit,
    /// A vCPU could not go on.
    InternalError,
    /// The host ended it.
    HostQuit,
}

impl ExitReason {
    /// The name users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestPanicked => "guest-panicked",
            Self::GuestReset => "guest-reset",
            Self::DebugExit => "debug-exit",
            Self::InternalError => "internal-error",
            Self::HostQuit => "host-quit",
        }
    }
}
