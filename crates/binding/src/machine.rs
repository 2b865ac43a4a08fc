//! The machine class: commands go in, messages come out.

use crate::balloon;
use crate::command::BindingCommand;
use crate::config::BindingConfig;
use crate::environment;
use crate::error::BindingError;
use crate::event::BindingEvent;
use crate::msrs;
use crate::plan::{MachinePlan, OpenMachine};
use crate::serial::SerialStreams;
use crate::trace::{BindingTraceSession, START_LIMIT};
use crate::virtio::VirtioHandles;
use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::trace::Trace;
use kvm_accel::{EventSink, ExitKind};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{Board, BoardError};
use kvm_accel_machine::devices::{DelegatedMsrs, InputDrained};
use kvm_accel_machine::virtio::Listener;
use kvm_accel_vmm::{BoardMachine, Built, DirectAccess, Event, Failure, Outbox, Sender, Vmm};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Either, Uint8Array};
use napi_derive::napi;
use std::collections::HashMap;
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A machine. The descriptor of `takeWakeFd()` becomes readable when `take()` has something.
#[napi]
pub struct BindingMachine {
    vmm: Arc<Vmm>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) direct: Arc<DirectAccess>,
    opened: Arc<Mutex<Opened>>,
    /// By the host's port.
    pub(crate) listeners: HashMap<u32, Listener>,
    pub(crate) trace: Trace,
    pub(crate) start_trace: Option<BindingTraceSession>,
    msrs: Arc<DelegatedMsrs>,
    plans: Plans,
    wake: Option<UnixStream>,
}

/// What the control thread opened while it built the machine; empty before.
#[derive(Default)]
pub struct Opened {
    pub serial: SerialStreams,
    pub virtio: VirtioHandles,
}

/// Starts the control thread of a machine, which waits for `create()`.
#[napi]
pub fn start_machine(env: Env) -> napi::Result<Either<BindingMachine, BindingError>> {
    match start() {
        Ok(machine) => {
            environment::adopt(&env, &machine.vmm)?;
            Ok(Either::A(machine))
        }
        Err(failure) => Ok(Either::B(failure.into())),
    }
}

/// The process has too few of something.
fn short_of(what: &str, error: &io::Error) -> Failure {
    let message = format!("cannot create {what} of the machine: {error}");
    MachineConfigError::new(
        "memory",
        message,
        "Raise the limits on open files and threads (ulimit -n, ulimit -u, the cgroup's pids.max).",
    )
    .into()
}

/// The way of a plan to the control thread. Empty once the plan was sent or the machine was ended.
type Plans = Arc<Mutex<Option<SyncSender<MachinePlan>>>>;

fn start() -> Result<BindingMachine, Failure> {
    let (outbox, wake) = Outbox::new().map_err(|error| short_of("the event socket", &error))?;
    let outbox = Arc::new(outbox);
    let msrs = msrs::asking(&outbox);
    let waker = Arc::clone(&outbox);
    let trace = Trace::new(move || waker.wake());
    let direct = Arc::<DirectAccess>::default();
    let opened = Arc::<Mutex<Opened>>::default();
    let (sender, received) = sync_channel(1);
    let plans = Plans::new(Mutex::new(Some(sender)));
    let build = {
        let (outbox, direct, opened) = (Arc::clone(&outbox), Arc::clone(&direct), Arc::clone(&opened));
        let (msrs, plans) = (Arc::clone(&msrs), Arc::clone(&plans));
        move |sender: &Sender, cancel: &Cancel| -> Result<Built<BoardMachine>, Failure> {
            sender.on_end(move || drop(lock(&plans).take()));
            let Ok(plan) = received.recv() else { return Err(BoardError::from(Cancelled).into()) };
            let policy = plan.policy;
            let OpenMachine { config, serial, virtio } = plan.open(cancel)?;
            balloon::watch(&virtio, &outbox);
            let input_drained = |port: u32| -> InputDrained {
                let outbox = Arc::clone(&outbox);
                Box::new(move || outbox.emit(Event::InputDrained { port }))
            };
            let sink = Arc::new(sender.clone()) as Arc<dyn EventSink>;
            let (mut board, warnings) = Board::new(config, sink, &input_drained, cancel)?;
            board.set_delegated_msrs(msrs);
            let mut opened = lock(&opened);
            // Once it is cancelled, JavaScript does not take what was opened.
            cancel.check()?;
            *opened = Opened { serial, virtio };
            drop(opened);
            Ok(BoardMachine::new(board, policy, warnings, sender, direct, outbox))
        }
    };
    let vmm = Vmm::spawn(trace.clone(), &outbox, build).map_err(|error| short_of("the control thread", &error))?;
    Ok(BindingMachine {
        vmm: Arc::new(vmm),
        outbox,
        direct,
        opened,
        listeners: HashMap::new(),
        trace,
        start_trace: None,
        msrs,
        plans,
        wake: Some(wake),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BindingMachine {
    /// What the machine has opened.
    pub(crate) fn opened(&self) -> MutexGuard<'_, Opened> {
        lock(&self.opened)
    }
}

fn totals(totals: Vec<u64>) -> Vec<i64> {
    totals.into_iter().map(|total| i64::try_from(total).unwrap_or(i64::MAX)).collect()
}

#[napi]
impl BindingMachine {
    /// Has the control thread create the machine. The reply with id 0 follows when it exists or has failed. Returns what is wrong with the
    /// configuration; opens no file.
    #[napi]
    pub fn create(&mut self, mut config: BindingConfig) -> Option<BindingError> {
        let patterns = std::mem::take(&mut config.trace);
        let plan = match config.into_plan(&self.msrs) {
            Ok(plan) => plan,
            Err(error) => return Some(Failure::from(error).into()),
        };
        self.start_trace =
            (!patterns.is_empty()).then(|| BindingTraceSession::open(&self.trace, &patterns, START_LIMIT));
        // Without a sender the machine was ended, and the reply says so.
        if let Some(sender) = lock(&self.plans).take() {
            let _ = sender.send(plan);
        }
        None
    }

    /// The reading end of the wake socket; the caller owns it. -1 when it was taken before.
    #[napi]
    pub fn take_wake_fd(&mut self) -> i32 {
        self.wake.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// The reading end of a port's stream, COM1 being 0 and the debug console 4; the caller owns it. -1 without one.
    #[napi]
    pub fn take_serial_fd(&self, port: u32) -> i32 {
        self.opened().serial.take_fd(port)
    }

    /// All events and replies that wait, in the order in which they happened.
    #[napi]
    pub fn take(&self) -> Vec<BindingEvent> {
        self.outbox.take().into_iter().map(BindingEvent::from).collect()
    }

    /// Sends a command and returns the id of its reply; 0 when the machine has ended. `nested`: a vCPU waits for the caller.
    #[napi]
    pub fn send(&self, command: BindingCommand, nested: bool) -> Either<u32, BindingError> {
        match command.parse() {
            Ok(command) => Either::A(self.vmm.send(command, nested).unwrap_or(0)),
            Err(error) => Either::B(Failure::from(error).into()),
        }
    }

    /// Answers an access of the `device-access` event.
    #[napi]
    pub fn answer_device(&self, device: u32, id: u32, value: BigInt) {
        if let Some(device) = self.direct.device(device) {
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
        let taken = self.direct.serial_input(usize::try_from(port).unwrap_or(usize::MAX), &bytes);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// Exits so far, by kind.
    #[napi]
    pub fn exit_counts(&self) -> HashMap<String, i64> {
        let counters = self.direct.counters();
        let count = |kind| counters.map_or(0, |counters| i64::try_from(counters.exits(kind)).unwrap_or(i64::MAX));
        ExitKind::ALL.iter().map(|&kind| (kind.as_str().to_owned(), count(kind))).collect()
    }

    /// Notify exits of each vCPU so far, drills included.
    #[napi]
    pub fn notify_totals(&self) -> Vec<i64> {
        totals(self.direct.counters().map(|counters| counters.notify_totals()).unwrap_or_default())
    }

    /// Bus locks of each vCPU so far; empty where they are not limited.
    #[napi]
    pub fn bus_lock_totals(&self) -> Vec<i64> {
        totals(self.direct.counters().map(|counters| counters.bus_lock_totals()).unwrap_or_default())
    }

    /// Ends the machine, whatever it does; the `closed` event follows when nothing of it is left.
    #[napi]
    pub fn close(&self) {
        self.vmm.end();
        // What JavaScript did not take would stay open until the object is collected.
        let mut opened = self.opened();
        opened.serial = SerialStreams::default();
        opened.virtio.console_ends.clear();
    }
}
