//! Events of a machine, as a union with the discriminant `kind`.

use super::access::{BindingDeviceAccess, BindingMsrAccess};
use super::registers::{BindingRegisters, registers};
use super::reply::{BindingDebugStop, BindingReply};
use crate::error::{self, BindingError};
use kvm_accel_vmm::{Event, Exit, Message};
use napi_derive::napi;

/// A message of a machine: an event, or the reply to a command. Messages keep the order in which they happened.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
#[allow(clippy::large_enum_variant, reason = "napi does not convert boxed values, and most events are notify events")]
pub enum BindingEvent {
    /// The reply to the command with this id: a value or an error. Id 0 is the creation of the machine.
    Reply { id: u32, value: Option<BindingReply>, error: Option<BindingError> },
    /// A notify VM exit.
    Notify {
        vcpu: u32,
        registers: BindingRegisters,
        instruction: String,
        context_invalid: bool,
        resumed: bool,
        total: i64,
        injected: bool,
        /// Number of events that were dropped before this one because the queue was full.
        dropped: u32,
    },
    /// A bus lock.
    BusLock {
        vcpu: u32,
        registers: BindingRegisters,
        instruction: String,
        total: i64,
        /// Milliseconds that the vCPU is delayed.
        throttled: f64,
        /// Number of events that were dropped before this one because the queue was full.
        dropped: u32,
    },
    /// A warning for the user.
    Warning { code: String, message: String },
    /// The machine entered run state `running`.
    Resume,
    /// The machine left run state `running`. All vCPUs are outside the guest, and no device writes to guest memory.
    Stop { state: String, exit: Option<BindingExit> },
    /// A breakpoint, a watchpoint or a step stopped the machine. Follows `stop`.
    Debug { stop: BindingDebugStop },
    /// The machine was reset to its power-on state.
    Reset { guest: bool, state: String },
    /// The machine ended.
    Shutdown { reason: String, exit: BindingExit },
    /// The guest accesses a device that is implemented in JavaScript, and waits for `answerDevice`.
    DeviceAccess { device: u32, access: BindingDeviceAccess },
    /// The machine was reset. Emitted again only after `deviceResetSeen`.
    DeviceReset { device: u32 },
    /// The guest accesses an MSR that JavaScript handles, and waits for `answerMsr`.
    MsrAccess { access: BindingMsrAccess },
    /// The result of `connectVsock`.
    VsockConnected { id: u32, host_port: u32, error: Option<BindingError> },
    /// The guest has connected to a port on which the host listens.
    VsockConnection { host_port: u32 },
    /// The size of the balloon has changed. Emitted again only after a call of `balloonPages`.
    BalloonChange,
    /// A serial port can accept input again.
    InputDrained { port: u32 },
    /// All threads of the machine have ended and the VM is closed.
    Closed,
}

/// How a machine ended.
#[napi(object, object_from_js = false)]
pub struct BindingExit {
    pub reason: String,
    pub status: Option<u32>,
    pub detail: Option<String>,
    pub report: Option<String>,
}

impl From<Exit> for BindingExit {
    fn from(exit: Exit) -> Self {
        let Exit { reason, status, detail, report } = exit;
        Self { reason: reason.as_str().into(), status: status.map(Into::into), detail, report }
    }
}

impl From<Message> for BindingEvent {
    fn from(message: Message) -> Self {
        match message {
            Message::Reply { id, result: Ok(reply) } => Self::Reply { id, value: Some(reply.into()), error: None },
            Message::Reply { id, result: Err(failure) } => {
                Self::Reply { id, value: None, error: Some(error::json(failure)) }
            }
            Message::Event(event) => event.into(),
        }
    }
}

impl From<Event> for BindingEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Notify { exit, dropped } => Self::Notify {
                vcpu: exit.vcpu,
                registers: registers(&exit.registers),
                instruction: exit.instruction,
                context_invalid: exit.context_invalid,
                resumed: exit.resumed,
                total: i64::try_from(exit.total).unwrap_or(i64::MAX),
                injected: exit.injected,
                dropped,
            },
            Event::BusLock { lock, dropped } => Self::BusLock {
                vcpu: lock.vcpu,
                registers: registers(&lock.registers),
                instruction: lock.instruction,
                total: i64::try_from(lock.total).unwrap_or(i64::MAX),
                throttled: lock.throttled.as_secs_f64() * 1000.0,
                dropped,
            },
            Event::Warning(warning) => Self::Warning { code: warning.code.as_str().into(), message: warning.message },
            Event::Resume => Self::Resume,
            Event::Stop { state, exit } => Self::Stop { state: state.as_str().into(), exit: exit.map(Into::into) },
            Event::Debug(stop) => Self::Debug { stop: stop.into() },
            Event::Reset { guest, state } => Self::Reset { guest, state: state.as_str().into() },
            Event::Shutdown { reason, exit } => Self::Shutdown { reason: reason.as_str().into(), exit: exit.into() },
            Event::DeviceAccess { device, access } => Self::DeviceAccess { device, access: access.into() },
            Event::DeviceReset { device } => Self::DeviceReset { device },
            Event::MsrAccess(access) => Self::MsrAccess { access: access.into() },
            Event::VsockConnected { id, host_port, error } => {
                Self::VsockConnected { id, host_port, error: error.map(error::json) }
            }
            Event::VsockConnection { host_port } => Self::VsockConnection { host_port },
            Event::BalloonChange => Self::BalloonChange,
            Event::InputDrained { port } => Self::InputDrained { port },
            Event::Closed => Self::Closed,
        }
    }
}
