//! Events: changes of a machine that no reply reports.

use crate::{Failure, RunState};
use kvm_accel::debug::DebugStop;
use kvm_accel::{BusLockEvent, NotifyEvent, Warning};
use kvm_accel_machine::devices::{Access, MsrAccess};
use serde::{Deserialize, Serialize};

/// An event. The caller receives events and replies in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event", content = "data")]
pub enum Event {
    /// A notify VM exit, reported by the kernel or injected.
    Notify {
        /// The details of the VM exit.
        exit: Box<NotifyEvent>,
        /// Number of events that were dropped before this one because the queue was full.
        dropped: u32,
    },
    /// A bus lock of the guest.
    BusLock {
        /// The details of the bus lock.
        lock: Box<BusLockEvent>,
        /// As for [`Event::Notify`].
        dropped: u32,
    },
    /// A warning for the user.
    Warning(Warning),
    /// The machine entered run state `running`.
    Resume,
    /// The machine left run state `running`. All vCPUs are outside the guest. Every device is quiescent; if one is not, a warning precedes
    /// this event.
    Stop {
        /// The new run state.
        state: RunState,
        /// How the guest ended; none for a pause or a debug stop.
        exit: Option<Exit>,
    },
    /// A breakpoint, a watchpoint or a step stopped the machine; follows [`Event::Stop`].
    Debug(DebugStop),
    /// The machine was reset to its power-on state.
    Reset {
        /// True if the guest requested the reset, false if the host did.
        guest: bool,
        /// The new run state: `running` or `prelaunch`.
        state: RunState,
    },
    /// The machine ended. Unless [`Policy::no_shutdown`](crate::Policy::no_shutdown) keeps it, [`Event::Closed`] follows.
    Shutdown {
        /// Why the machine ended.
        reason: ExitReason,
        /// How the machine ended. If several ends were reported, this is the first.
        exit: Exit,
    },
    /// The guest accesses a device that the caller implements. The vCPU waits for the answer.
    DeviceAccess {
        /// Index of the device.
        device: u32,
        /// The access, which the caller answers.
        access: Access,
    },
    /// The machine was reset, and with it a device that the caller implements. Emitted before [`Event::Reset`], and again only after the
    /// caller has acknowledged it ([`Delegated::take_reset`](kvm_accel_machine::devices::Delegated::take_reset)).
    DeviceReset {
        /// Index of the device.
        device: u32,
    },
    /// The guest accesses an MSR that the caller implements. The vCPU waits for the answer.
    MsrAccess(MsrAccess),
    /// A vsock connection to the guest was accepted or refused.
    VsockConnected {
        /// The id that the caller gave to the connection attempt.
        id: u32,
        /// The host's port.
        host_port: u32,
        /// Why the connection was refused; none if it was accepted.
        error: Option<Failure>,
    },
    /// The guest has connected to a vsock port on which the caller listens.
    VsockConnection {
        /// The host's port.
        host_port: u32,
    },
    /// The size of the balloon has changed. The event is emitted again only after the caller has read the size.
    BalloonChange,
    /// A serial port accepts input again.
    InputDrained {
        /// The port, COM1 being 0.
        port: u32,
    },
    /// All threads have ended and the VM is closed. This is the last message.
    Closed,
}

impl Event {
    /// True if the event may be dropped and counted when the queue is full. Events that stop or end a machine, and events whose answer a
    /// vCPU waits for, are never dropped. A reset by the guest may be dropped: a guest can reset itself thousands of times a second, and
    /// the machine runs before and after each reset.
    pub(crate) const fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Notify { .. } | Self::BusLock { .. } | Self::Warning(_) | Self::Reset { guest: true, .. })
    }
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why the machine ended.
    pub reason: ExitReason,
    /// With [`ExitReason::DebugExit`]: the exit status of QEMU's process in this case, `(value << 1) | 1`.
    pub status: Option<u8>,
    /// With [`ExitReason::InternalError`]: what happened, in one line.
    pub detail: Option<String>,
    /// With [`ExitReason::InternalError`]: registers and code bytes in QEMU's format.
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
    /// A vCPU could not continue.
    InternalError,
    /// The host ended the machine.
    HostQuit,
}

impl ExitReason {
    /// Returns the name in the TypeScript API.
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
