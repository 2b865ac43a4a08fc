//! Events as the union that TypeScript switches over.

use crate::device::BindingDeviceAccess;
use crate::error::BindingError;
use crate::msrs::BindingMsrAccess;
use kvm_accel::{Event, NotifyEvent, Registers, Request, StopReason};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// General registers of a vCPU.
#[napi(object)]
pub struct BindingRegisters {
    pub rax: BigInt,
    pub rbx: BigInt,
    pub rcx: BigInt,
    pub rdx: BigInt,
    pub rsi: BigInt,
    pub rdi: BigInt,
    pub rbp: BigInt,
    pub rsp: BigInt,
    pub r8: BigInt,
    pub r9: BigInt,
    pub r10: BigInt,
    pub r11: BigInt,
    pub r12: BigInt,
    pub r13: BigInt,
    pub r14: BigInt,
    pub r15: BigInt,
    pub rip: BigInt,
    pub rflags: BigInt,
}

/// What happened in a machine.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
#[allow(clippy::large_enum_variant, reason = "a box does not cross to JavaScript, and most events are notify events")]
pub enum BindingEvent {
    /// A notify VM exit.
    Notify {
        vcpu: u32,
        registers: BindingRegisters,
        instruction: String,
        context_invalid: bool,
        resumed: bool,
        total: i64,
        injected: bool,
        /// Events that did not fit the queue before this one.
        dropped: u32,
    },
    /// A bus lock.
    BusLock {
        vcpu: u32,
        registers: BindingRegisters,
        instruction: String,
        total: i64,
        /// Milliseconds that the vCPU waits.
        throttled: f64,
        /// Events that did not fit the queue before this one.
        dropped: u32,
    },
    /// Something a user should read.
    Warning { code: String, message: String },
    /// All vCPUs are stopped because of a breakpoint, a watchpoint or a step.
    Debug { vcpu: u32, reason: String, address: BigInt, rip: BigInt },
    /// All vCPUs are stopped because `pause` was called.
    Paused,
    /// All vCPUs are stopped because the guest powered off.
    GuestShutdown,
    /// Its kernel panicked, and said so to pvpanic.
    GuestPanicked,
    /// All vCPUs are stopped because the guest wants a reset.
    GuestReset,
    /// The guest slept and is woken: `wake()` comes next.
    GuestWake,
    /// All vCPUs are stopped because the guest wrote to isa-debug-exit.
    DebugExit { value: u32 },
    /// All vCPUs are stopped because one cannot go on.
    Fault { vcpu: u32, fault: String, message: String, report: String },
    /// The guest accesses a device of JavaScript's and waits for `answerDevice`.
    DeviceAccess { device: u32, access: BindingDeviceAccess },
    /// The guest accesses an MSR of JavaScript's and waits for `answerMsr`.
    MsrAccess { access: BindingMsrAccess },
    /// The answer to `takeDirtyPages`: start and length of each run of pages, or why there are none.
    DirtyPages { id: u32, ranges: Option<Vec<f64>>, error: Option<BindingError> },
    /// What became of `connectVsock`.
    VsockConnected { id: u32, host_port: u32, error: Option<BindingError> },
    /// The guest has connected to a port that is listened to.
    VsockConnection { host_port: u32 },
    /// The balloon has another size; told again only after `balloonPages`.
    BalloonChange,
    /// A serial port takes input again.
    InputDrained { port: u32 },
    /// All threads have ended and the VM is closed.
    Closed,
}

impl BindingEvent {
    /// Whether the queue may drop it when it is full.
    pub const fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Notify { .. } | Self::BusLock { .. } | Self::Warning { .. })
    }
}

impl From<Event> for BindingEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::Notify(event) => notify(*event),
            Event::BusLock(event) => Self::BusLock {
                vcpu: event.vcpu,
                registers: registers(&event.registers),
                instruction: event.instruction,
                total: i64::try_from(event.total).unwrap_or(i64::MAX),
                throttled: event.throttled.as_secs_f64() * 1000.0,
                dropped: 0,
            },
            Event::Warning(warning) => Self::Warning { code: warning.code.as_str().into(), message: warning.message },
            Event::Stopped(StopReason::Debug(stop)) => Self::Debug {
                vcpu: stop.vcpu,
                reason: stop.cause.reason.as_str().into(),
                address: stop.cause.address.into(),
                rip: stop.rip.into(),
            },
            Event::Stopped(StopReason::Paused) => Self::Paused,
            Event::Stopped(StopReason::Guest(Request::Shutdown)) => Self::GuestShutdown,
            Event::Stopped(StopReason::Guest(Request::Panic)) => Self::GuestPanicked,
            Event::Stopped(StopReason::Guest(Request::Reset)) => Self::GuestReset,
            Event::Stopped(StopReason::Guest(Request::Wake)) => Self::GuestWake,
            Event::Stopped(StopReason::Guest(Request::DebugExit { value })) => Self::DebugExit { value },
            Event::Stopped(StopReason::Fault(fault)) => Self::Fault {
                vcpu: fault.vcpu,
                fault: fault.kind.as_str().into(),
                message: fault.message,
                report: fault.report,
            },
        }
    }
}

fn notify(event: NotifyEvent) -> BindingEvent {
    BindingEvent::Notify {
        vcpu: event.vcpu,
        registers: registers(&event.registers),
        instruction: event.instruction,
        context_invalid: event.context_invalid,
        resumed: event.resumed,
        total: i64::try_from(event.total).unwrap_or(i64::MAX),
        injected: event.injected,
        dropped: 0,
    }
}

/// The general registers.
pub fn registers(registers: &Registers) -> BindingRegisters {
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] =
        registers.general.map(BigInt::from);
    BindingRegisters {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rbp,
        rsp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: registers.rip.into(),
        rflags: registers.rflags.into(),
    }
}
