//! The machine class.

use crate::balloon;
use crate::config::BindingConfig;
use crate::device::{BindingDeviceClaim, BindingDevicePlace};
use crate::environment;
use crate::error::BindingError;
use crate::event::BindingEvent;
use crate::event_queue::EventQueue;
use crate::handle::Handle;
use crate::msrs;
use crate::plan::OpenMachine;
use crate::serial::SerialStreams;
use crate::trace::{BindingTraceSession, START_LIMIT};
use crate::virtio::VirtioHandles;
use kvm_accel::cancel::Cancel;
use kvm_accel::trace::Trace;
use kvm_accel::vcpu::NotifyStatus;
use kvm_accel::{EventSink, ExitKind};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{Board, BoardError};
use kvm_accel_machine::devices::{Delegated, DelegatedMsrs};
use kvm_accel_machine::virtio::Listener;
use napi::Env;
use napi::bindgen_prelude::{BigInt, Either, Uint8Array};
use napi_derive::napi;
use std::collections::HashMap;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A machine. `wakeFd` becomes readable when `take()` has something.
#[napi]
pub struct BindingMachine {
    pub(crate) handle: Arc<Handle>,
    pub(crate) devices: Vec<Arc<Delegated>>,
    pub(crate) virtio: VirtioHandles,
    /// By the host's port.
    pub(crate) listeners: HashMap<u32, Listener>,
    pub(crate) start_trace: Option<BindingTraceSession>,
    msrs: Arc<DelegatedMsrs>,
    notify: NotifyStatus,
    wake: Option<UnixStream>,
    serial: SerialStreams,
}

/// What became of the notify properties.
#[napi(object, object_from_js = false)]
pub struct BindingNotifyStatus {
    pub supported: bool,
    pub enabled: bool,
}

/// Builds a machine; its vCPUs stay outside the guest until `resume()`.
#[napi]
pub fn create_machine(env: Env, config: BindingConfig) -> napi::Result<Either<BindingMachine, BindingError>> {
    match build(config) {
        Ok(machine) => {
            environment::adopt(&env, &machine.handle)?;
            Ok(Either::A(machine))
        }
        Err(error) => Ok(Either::B(error.into())),
    }
}

fn build(mut config: BindingConfig) -> Result<BindingMachine, BoardError> {
    let patterns = std::mem::take(&mut config.trace);
    let (queue, wake) = EventQueue::new().map_err(|error| {
        MachineConfigError::new(
            "signal",
            format!("A socketpair cannot be made: {error}"),
            "Raise the limit on open files.",
        )
    })?;
    let queue = Arc::new(queue);
    let msrs = msrs::asking(&queue);
    let cancel = Cancel::default();
    let OpenMachine { mut config, serial, virtio } = config.into_plan(&msrs)?.open(&cancel)?;
    balloon::watch(&virtio, &queue);
    let drained = |port: u32| {
        let queue = Arc::clone(&queue);
        Box::new(move || queue.push(BindingEvent::InputDrained { port }))
    };
    for (port, serial) in (1..).zip(&mut config.legacy.serials) {
        if let Some(serial) = serial {
            serial.input_drained = Some(drained(port));
        }
    }
    let waker = Arc::clone(&queue);
    let trace = Trace::new(move || waker.wake());
    let start_trace = (!patterns.is_empty()).then(|| BindingTraceSession::open(&trace, &patterns, START_LIMIT));
    let scope = trace.enter();
    let (mut board, warnings) = Board::new(config, Arc::clone(&queue) as Arc<dyn EventSink>, drained(0), &cancel)?;
    for warning in warnings {
        queue.emit(kvm_accel::Event::Warning(warning));
    }
    board.set_delegated_msrs(Arc::clone(&msrs));
    let notify = board.notify();
    drop(scope);
    Ok(BindingMachine {
        handle: Arc::new(Handle::new(board, queue, trace)),
        devices: Vec::new(),
        virtio,
        listeners: HashMap::new(),
        start_trace,
        msrs,
        notify,
        wake: Some(wake),
        serial,
    })
}

#[napi]
impl BindingMachine {
    /// The reading end of the wake socket; the caller owns it. -1 when it was taken before.
    #[napi]
    pub fn take_wake_fd(&mut self) -> i32 {
        self.wake.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// The reading end of a port's stream, COM1 being 0 and the debug console 4; the caller owns it. -1 without one.
    #[napi]
    pub fn take_serial_fd(&mut self, port: u32) -> i32 {
        self.serial.take_fd(port)
    }

    /// What became of the notify properties.
    #[napi]
    pub fn notify_status(&self) -> BindingNotifyStatus {
        BindingNotifyStatus { supported: self.notify.supported, enabled: self.notify.enabled }
    }

    /// All events that wait.
    #[napi]
    pub fn take(&self) -> Vec<BindingEvent> {
        self.handle.queue().take()
    }

    /// Lets the vCPUs enter the guest.
    #[napi]
    pub fn resume(&self) {
        self.handle.with_board(|board| board.resume());
    }

    /// Asks the vCPUs to leave the guest; the `paused` event tells when they have.
    #[napi]
    pub fn pause(&self) {
        self.handle.with_board(|board| board.pause());
    }

    /// Back to power-on; the vCPUs must be stopped.
    #[napi]
    pub fn reset(&self) -> Option<BindingError> {
        self.handle.with_board(|board| board.reset(&Cancel::default())).and_then(Result::err).map(BindingError::from)
    }

    /// Lets a guest go on that slept.
    #[napi]
    pub fn wake(&self) -> Option<BindingError> {
        self.handle.with_board(|board| board.wake(&Cancel::default())).and_then(Result::err).map(BindingError::from)
    }

    /// An NMI for every vCPU.
    #[napi]
    pub fn inject_nmi(&self) {
        self.handle.with_board(|board| board.inject_nmi());
    }

    /// The drill; false when the vCPU does not exist or has too many waiting.
    #[napi]
    pub fn inject_notify(&self, vcpu: u32, context_invalid: bool) -> bool {
        self.handle.with_board(|board| board.inject_notify(vcpu, context_invalid)).unwrap_or(false)
    }

    /// Adds a device that JavaScript answers for; the vCPUs must be stopped.
    #[napi]
    pub fn add_device(&mut self, claim: BindingDeviceClaim) -> Either<BindingDevicePlace, BindingError> {
        match self.claim(claim) {
            Ok(place) => Either::A(place),
            Err(error) => Either::B(error.into()),
        }
    }

    /// Answers an access of the `device-access` event.
    #[napi]
    pub fn answer_device(&self, device: u32, id: u32, value: BigInt) {
        if let Some(device) = usize::try_from(device).ok().and_then(|index| self.devices.get(index)) {
            device.answer(id, value.get_u64().1);
        }
    }

    /// Answers an access of the `msr-access` event: the value read, anything for a write; nothing for a #GP.
    #[napi]
    pub fn answer_msr(&self, id: u32, answer: Option<BigInt>) {
        self.msrs.answer(id, answer.map(|value| value.get_u64().1));
    }

    /// Input for a serial port: how many bytes were taken.
    #[napi]
    pub fn serial_input(&self, port: u32, bytes: Uint8Array) -> u32 {
        let port = usize::try_from(port).unwrap_or(usize::MAX);
        let taken = self.handle.with_board(|board| board.serial_input(port, &bytes)).unwrap_or(0);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// Exits so far, by kind.
    #[napi]
    pub fn exit_counts(&self) -> HashMap<String, i64> {
        let counts = self.handle.counts().exits.into_iter().map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        ExitKind::ALL.iter().map(|kind| kind.as_str().to_owned()).zip(counts).collect()
    }

    /// Notify exits of each vCPU so far, drills included.
    #[napi]
    pub fn notify_totals(&self) -> Vec<i64> {
        self.handle.counts().notify.into_iter().map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect()
    }

    /// Bus locks of each vCPU so far; empty where they are not limited.
    #[napi]
    pub fn bus_lock_totals(&self) -> Vec<i64> {
        self.handle.counts().bus_locks.into_iter().map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect()
    }

    /// Ends the machine; the `closed` event tells when nothing of it is left.
    #[napi]
    pub fn close(&self) {
        self.handle.close();
    }
}
