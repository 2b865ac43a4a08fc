//! The machine object: commands go in, messages come out.

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

/// A machine. The descriptor of `takeWakeFd()` becomes readable when `take()` has something.
#[napi]
pub struct BindingMachine {
    pub(super) machine: BoardVmm,
    /// By the host's port.
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
    /// Has the control thread create the machine of `config`, which is a `MachineConfig` (crates/vmm) as JSON. The reply with id 0 follows
    /// when it exists or has failed. Returns what is wrong with the configuration; opens no file.
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

    /// The reading end of the wake socket; the caller owns it. -1 when it was taken before.
    #[napi]
    pub fn take_wake_fd(&mut self) -> i32 {
        self.wake.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// All events and replies that wait, in the order in which they happened.
    #[napi]
    pub fn take(&self) -> Vec<BindingEvent> {
        self.machine.take().into_iter().map(BindingEvent::from).collect()
    }

    /// Sends a command and returns the id of its reply; 0 when the machine has ended. `nested`: a vCPU waits for the caller.
    #[napi]
    pub fn send(&self, command: BindingCommand, nested: bool) -> Either<u32, BindingError> {
        match command.parse() {
            Ok(command) => Either::A(self.machine.send(command, nested).unwrap_or(0)),
            Err(why) => Either::B(error::json(why)),
        }
    }

    /// Answers an access of the `device-access` event.
    #[napi]
    pub fn answer_device(&self, device: u32, id: u32, value: BigInt) {
        if let Some(device) = self.machine.direct().device(device) {
            device.answer(id, value.get_u64().1);
        }
    }

    /// Answers an access of the `msr-access` event: the value read, anything for a write; nothing for a #GP.
    #[napi]
    pub fn answer_msr(&self, id: u32, answer: Option<BigInt>) {
        self.machine.answer_msr(id, answer.map(|value| value.get_u64().1));
    }

    /// Exits so far, by kind.
    #[napi]
    pub fn exit_counts(&self) -> HashMap<String, i64> {
        let counters = self.machine.direct().counters();
        let count = |kind| counters.map_or(0, |counters| i64::try_from(counters.exits(kind)).unwrap_or(i64::MAX));
        ExitKind::ALL.iter().map(|&kind| (kind.as_str().to_owned(), count(kind))).collect()
    }

    /// Notify exits of each vCPU so far, drills included.
    #[napi]
    pub fn notify_totals(&self) -> Vec<i64> {
        totals(self.machine.direct().counters().map(|counters| counters.notify_totals()).unwrap_or_default())
    }

    /// Bus locks of each vCPU so far; empty where they are not limited.
    #[napi]
    pub fn bus_lock_totals(&self) -> Vec<i64> {
        totals(self.machine.direct().counters().map(|counters| counters.bus_lock_totals()).unwrap_or_default())
    }

    /// Ends the machine, whatever it does; the `closed` event follows when nothing of it is left.
    #[napi]
    pub fn close(&self) {
        self.machine.end();
    }
}
