//! The machine object: it accepts commands and returns messages.

use crate::error::{self, BindingError};
use crate::messages::{BindingCommand, BindingEvent};
use crate::{bytes, environment};
use kvm_accel::ExitKind;
use kvm_accel::trace::TraceSession;
use kvm_accel_machine::virtio::Listener;
use kvm_accel_vmm::{BoardVmm, MachineConfig};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Either};
use napi_derive::napi;
use std::collections::HashMap;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

/// A machine. The descriptor of `takeWakeFd()` becomes readable when `take()` has messages to return.
#[napi]
pub struct BindingMachine {
    pub(super) machine: BoardVmm,
    /// The listeners of vsock, by the host's port.
    pub(super) listeners: HashMap<u32, Listener>,
    pub(super) start_trace: Option<TraceSession>,
    wake: Option<UnixStream>,
}

/// Starts the control thread of a machine, which waits for `create()`.
#[napi]
pub fn start_machine(env: Env) -> napi::Result<Either<BindingMachine, BindingError>> {
    match BoardVmm::start() {
        Ok((machine, wake)) => {
            environment::adopt(&env, machine.vmm())?;
            let listeners = HashMap::new();
            Ok(Either::A(BindingMachine { machine, listeners, start_trace: None, wake: Some(wake) }))
        }
        Err(failure) => Ok(Either::B(error::json(failure))),
    }
}

fn totals(totals: Vec<u64>) -> Vec<i64> {
    totals.into_iter().map(|total| i64::try_from(total).unwrap_or(i64::MAX)).collect()
}

#[napi]
impl BindingMachine {
    /// Asks the control thread to create the machine of `config`, a `MachineConfig` (crates/vmm) as JSON. The reply with id 0 reports
    /// success or failure. Returns an error if the configuration is invalid; opens no file.
    #[napi]
    pub fn create(&mut self, config: String) -> Option<BindingError> {
        let config = MachineConfig::from_json(&config);
        match config.and_then(|config| self.machine.create(config, &mut bytes::take)) {
            Ok(session) => {
                self.start_trace = session;
                None
            }
            Err(failure) => Some(error::json(failure)),
        }
    }

    /// Returns the reading end of the wake socket, which the caller then owns, or -1 if it was taken before.
    #[napi]
    pub fn take_wake_fd(&mut self) -> i32 {
        self.wake.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Returns all waiting events and replies, in the order in which they happened.
    #[napi]
    pub fn take(&self) -> Vec<BindingEvent> {
        self.machine.take().into_iter().map(BindingEvent::from).collect()
    }

    /// Sends a command and returns the id of its reply, or 0 if the machine has ended. `nested` is true if a vCPU waits for the caller.
    #[napi]
    pub fn send(&self, command: BindingCommand, nested: bool) -> Either<u32, BindingError> {
        match command.parse() {
            Ok(command) => Either::A(self.machine.send(command, nested).unwrap_or(0)),
            Err(why) => Either::B(error::json(why)),
        }
    }

    /// Answers a `device-access` event.
    #[napi]
    pub fn answer_device(&self, device: u32, id: u32, value: BigInt) {
        if let Some(device) = self.machine.direct().device(device) {
            device.answer(id, value.get_u64().1);
        }
    }

    /// Answers an `msr-access` event: with the value for a read, with any value for a write, without a value to inject a #GP.
    #[napi]
    pub fn answer_msr(&self, id: u32, answer: Option<BigInt>) {
        self.machine.answer_msr(id, answer.map(|value| value.get_u64().1));
    }

    /// Returns the number of exits so far, by kind.
    #[napi]
    pub fn exit_counts(&self) -> HashMap<String, i64> {
        let counters = self.machine.direct().counters();
        let count = |kind| counters.map_or(0, |counters| i64::try_from(counters.exits(kind)).unwrap_or(i64::MAX));
        ExitKind::ALL.iter().map(|&kind| (kind.as_str().to_owned(), count(kind))).collect()
    }

    /// Returns the number of notify exits of each vCPU so far, drills included.
    #[napi]
    pub fn notify_totals(&self) -> Vec<i64> {
        totals(self.machine.direct().counters().map(|counters| counters.notify_totals()).unwrap_or_default())
    }

    /// Returns the number of bus locks of each vCPU so far. Empty if bus locks are not limited.
    #[napi]
    pub fn bus_lock_totals(&self) -> Vec<i64> {
        totals(self.machine.direct().counters().map(|counters| counters.bus_lock_totals()).unwrap_or_default())
    }

    /// Ends the machine at once. The `closed` event follows when its threads have ended and its resources are free.
    #[napi]
    pub fn close(&self) {
        self.machine.end();
    }
}
