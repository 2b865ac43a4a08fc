//! The handle of a machine with a board.

use super::direct::DirectAccess;
use super::machine::BoardMachine;
use crate::config::{MachinePlan, OpenMachine, TakeBytes};
use crate::sync::{Mutex, lock};
use crate::{Built, Command, Event, Failure, MachineConfig, Message, Outbox, Sender, Vmm};
use kvm_accel::EventSink;
use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::trace::{Filter, Trace, TraceSession};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{Board, BoardError};
use kvm_accel_machine::devices::{DelegatedMsrs, InputDrained};
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The most records that a trace session holds for its reader when it starts together with its machine.
const START_TRACE_LIMIT: usize = 65_536;

/// A machine with a board: its message queue, and its direct access. Its control thread waits for [`BoardVmm::create`].
pub struct BoardVmm {
    vmm: Arc<Vmm>,
    outbox: Arc<Outbox>,
    direct: Arc<DirectAccess>,
    msrs: Arc<DelegatedMsrs>,
    trace: Trace,
    plans: Plans,
}

/// The channel that passes the plan to the control thread. Empty once the plan has been sent or the machine was ended.
type Plans = Arc<Mutex<Option<SyncSender<MachinePlan>>>>;

impl BoardVmm {
    /// Starts the control thread. The returned socket becomes readable when [`Outbox::take`] has messages.
    ///
    /// # Errors
    /// When the process has too few file descriptors or threads.
    pub fn start() -> Result<(Self, UnixStream), Failure> {
        let (outbox, wake) = Outbox::new().map_err(|error| short_of("the event socket", &error))?;
        let outbox = Arc::new(outbox);
        let asked = Arc::clone(&outbox);
        let msrs = Arc::new(DelegatedMsrs::new(Box::new(move |access| asked.emit(Event::MsrAccess(access)))));
        let waker = Arc::clone(&outbox);
        let trace = Trace::new(move || waker.wake());
        let direct = Arc::<DirectAccess>::default();
        let (sender, received) = sync_channel(1);
        let plans = Plans::new(Mutex::new(Some(sender)));
        let building = Building {
            received,
            plans: Arc::clone(&plans),
            msrs: Arc::clone(&msrs),
            direct: Arc::clone(&direct),
            outbox: Arc::clone(&outbox),
        };
        let build = move |sender: &Sender, cancel: &Cancel| building.run(sender, cancel);
        let vmm = Vmm::spawn(trace.clone(), &outbox, build).map_err(|error| short_of("the control thread", &error))?;
        Ok((Self { vmm: Arc::new(vmm), outbox, direct, msrs, trace, plans }, wake))
    }

    /// Asks the control thread to create the machine. The reply with id 0 follows when the machine exists or its creation has failed. Opens
    /// no file. Returns a trace session if the configuration names trace events.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn create(&self, config: MachineConfig, bytes: TakeBytes<'_>) -> Result<Option<TraceSession>, Failure> {
        let filter = config.trace.iter().fold(Filter::default(), |set, glob| set.union(Filter::glob(glob)));
        let traced = !config.trace.is_empty();
        let queued = usize::try_from(config.max_queued_events).unwrap_or(usize::MAX);
        let plan = config.plan(bytes, &self.msrs)?;
        self.outbox.limit(queued);
        let session = traced.then(|| self.trace.open(filter, START_TRACE_LIMIT));
        // If the sender is gone, the machine was ended, and the reply with id 0 reports that.
        if let Some(sender) = lock(&self.plans).take() {
            let _ = sender.send(plan);
        }
        Ok(session)
    }

    /// See [`Vmm::send`].
    #[must_use]
    pub fn send(&self, command: Command, nested: bool) -> Option<u32> {
        self.vmm.send(command, nested)
    }

    /// Answers an [`Event::MsrAccess`]: the value for a read, any value for a write, `None` for a #GP.
    pub fn answer_msr(&self, id: u32, answer: Option<u64>) {
        self.msrs.answer(id, answer);
    }

    /// Ends the machine in any state. [`Event::Closed`] follows when all of its threads have ended.
    pub fn end(&self) {
        self.vmm.end();
        self.direct.close_ends();
    }

    /// Returns the handle of the control thread.
    #[must_use]
    pub const fn vmm(&self) -> &Arc<Vmm> {
        &self.vmm
    }

    /// Takes all messages out of the outbox. After [`Event::Closed`] nothing of the machine is left but this handle.
    #[must_use]
    pub fn take(&self) -> VecDeque<Message> {
        let messages = self.outbox.take();
        if matches!(messages.back(), Some(Message::Event(Event::Closed))) {
            self.vmm.join();
        }
        messages
    }

    /// Returns the queue of replies and events.
    #[must_use]
    pub const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Returns the access that does not go through the control thread.
    #[must_use]
    pub fn direct(&self) -> &DirectAccess {
        &self.direct
    }

    /// Returns the machine's trace events.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }
}

/// Returns the error for a process that has too few file descriptors or threads.
fn short_of(what: &str, error: &io::Error) -> Failure {
    let message = format!("cannot create {what} of the machine: {error}");
    let remedy = "Raise the limits on open files and threads (ulimit -n, ulimit -u, the cgroup's pids.max).";
    MachineConfigError::new("memory", message, remedy).into()
}

/// Builds the machine on the control thread.
struct Building {
    received: Receiver<MachinePlan>,
    plans: Plans,
    msrs: Arc<DelegatedMsrs>,
    direct: Arc<DirectAccess>,
    outbox: Arc<Outbox>,
}

impl Building {
    fn run(self, sender: &Sender, cancel: &Cancel) -> Result<Built<BoardMachine>, Failure> {
        let Self { received, plans, msrs, direct, outbox } = self;
        sender.on_end(move || drop(lock(&plans).take()));
        let Ok(plan) = received.recv() else { return Err(BoardError::from(Cancelled).into()) };
        let policy = plan.policy;
        let OpenMachine { config, mut opened } = plan.open(cancel)?;
        if let Some(balloon) = opened.find_balloon() {
            let outbox = Arc::clone(&outbox);
            balloon.on_change(move || outbox.emit(Event::BalloonChange));
        }
        let input_drained = |port: u32| -> InputDrained {
            let outbox = Arc::clone(&outbox);
            Box::new(move || outbox.emit(Event::InputDrained { port }))
        };
        let sink = Arc::new(sender.clone()) as Arc<dyn EventSink>;
        if let Some(console) = opened.find_console() {
            console.report_losses(&sink);
        }
        let (mut board, mut warnings) = Board::new(config, sink, &input_drained, cancel)?;
        warnings.append(&mut opened.warnings);
        board.set_delegated_msrs(msrs);
        direct.open(opened, cancel)?;
        Ok(BoardMachine::new(board, policy, warnings, sender, direct, outbox))
    }
}
