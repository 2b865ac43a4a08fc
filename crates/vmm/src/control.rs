//! The control thread. It executes commands in order, and decides what follows when the guest stops by itself.

use crate::event::{Event, Exit, ExitReason};
use crate::inbox::{Envelope, Inbox, Next};
use crate::outbox::Outbox;
use crate::{Command, Failure, Machine, Operation, Policy, Reply, RunState};
use kvm_accel::{Fault, Request, StopReason, Warning, WarningCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long `pause()` waits for the devices to complete their requests. A request is done in slices, so a host whose disks respond needs
/// milliseconds.
const QUIESCENCE: Duration = Duration::from_secs(10);
/// How long the vCPUs may take to leave the guest before a warning lists the vCPUs that have not left.
const LATE: Duration = Duration::from_secs(5);
/// How often a wait for the devices checks whether the machine is being ended.
const SLICE: Duration = Duration::from_millis(20);

/// What the control thread does after the vCPUs have stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// No command asked for the stop: the guest continues after its own reset or wake-up.
    GoOn,
    /// [`Command::Pause`] asked for the stop.
    Pause,
    /// [`Command::Reset`] asked for the stop.
    Reset,
}

/// Owns a machine and its run state.
///
/// Invariant: the state is `Running` from a call of [`Machine::resume`] until the control thread has taken the stop that follows out of the
/// inbox.
pub struct Control<M> {
    machine: M,
    policy: Policy,
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    state: RunState,
    /// How the guest ended. `None` again once the guest has been restarted.
    exit: Option<Exit>,
    /// The id of the step command. Its reply is sent when the step has ended.
    stepping: Option<u32>,
    /// The id of a pause command that the end of the machine interrupted. `finish()` sends its reply.
    pausing: Option<u32>,
    /// The id of the command that is being executed; `None` once its reply has been sent.
    executing: Option<u32>,
    /// The reply to the current command is sent as soon as the vCPUs have been asked to stop.
    early: bool,
    /// The guest ended the machine: `run()` returns.
    over: bool,
}

impl<M: Machine> Control<M> {
    pub fn new(machine: M, policy: Policy, inbox: Arc<Inbox>, outbox: Arc<Outbox>) -> Self {
        let state = RunState::Prelaunch;
        Self {
            machine,
            policy,
            inbox,
            outbox,
            state,
            exit: None,
            stepping: None,
            pausing: None,
            executing: None,
            early: false,
            over: false,
        }
    }

    /// Executes commands until the machine is ended by the host or by the guest.
    pub fn run(&mut self) {
        while !self.over {
            match self.inbox.next() {
                Next::End => return,
                Next::Stopped(reason) => {
                    // `settle` has already emitted an error as the machine's exit; no command waits for it.
                    let _ = self.settle(reason, Then::GoOn);
                }
                Next::Execute(envelope) => self.execute(envelope),
            }
        }
    }

    fn execute(&mut self, envelope: Envelope) {
        let Envelope { id, command, nested, answered } = envelope;
        let outer = std::mem::replace(&mut self.executing, (!answered).then_some(id));
        self.early = nested && matches!(command, Command::Pause | Command::Reset);
        if let Some(result) = self.carry_out(id, command)
            && self.executing.is_some()
        {
            self.outbox.reply(id, result);
        }
        self.executing = outer;
    }

    /// Executes a nested command while the vCPUs are stopping. A nested pause or reset needs no more than a stop request, which has been
    /// sent: its reply is sent now. The rest of its work is queued behind the other commands.
    fn execute_while_stopping(&mut self, envelope: Envelope) {
        if matches!(envelope.command, Command::Pause | Command::Reset) {
            self.outbox.reply(envelope.id, Ok(Reply::Done));
            self.inbox.put_off(envelope);
        } else {
            self.execute(envelope);
        }
    }

    /// Executes a command and returns its reply. `None` means that the reply is sent later.
    fn carry_out(&mut self, id: u32, command: Command) -> Option<Result<Reply, Failure>> {
        if let Err(failure) = self.state.check(command.operation()) {
            return Some(Err(failure));
        }
        Some(match command {
            Command::Start | Command::Resume => {
                self.begin();
                self.machine.resume();
                Ok(Reply::Done)
            }
            Command::Step { vcpu } => match self.machine.prepare_step(vcpu) {
                Ok(()) => {
                    self.stepping = Some(id);
                    self.begin();
                    self.machine.resume_only(vcpu);
                    return None;
                }
                Err(failure) => Err(failure),
            },
            Command::Pause => {
                let result = self.stop_vcpus().map(|reason| self.settle(reason, Then::Pause));
                match result {
                    Some(Err(failure)) if !self.inbox.cancel().is_cancelled() => Err(failure),
                    Some(Ok(())) => Ok(Reply::Done),
                    // The machine was ended before the vCPUs had stopped or the devices had completed their requests.
                    _ => {
                        self.pausing = self.executing.map(|_| id);
                        return None;
                    }
                }
            }
            Command::Reset => self.reset(),
            other => self.machine.perform(other, self.inbox.cancel()),
        })
    }

    fn emit(&self, event: Event) {
        self.outbox.emit(event);
    }

    fn ended(&self, operation: Operation) -> Failure {
        self.state.ended(operation)
    }

    /// Enters `running` and emits the event. The caller resumes the vCPUs afterwards, so that no event of the guest precedes this one.
    fn begin(&mut self) {
        self.state = RunState::Running;
        self.exit = None;
        self.emit(Event::Resume);
    }

    /// Kicks all vCPUs and waits until they have left the guest. Returns `None` if the machine is ended meanwhile.
    fn stop_vcpus(&mut self) -> Option<StopReason> {
        self.machine.pause();
        if std::mem::take(&mut self.early)
            && let Some(id) = self.executing.take()
        {
            self.outbox.reply(id, Ok(Reply::Done));
        }
        let mut warned = false;
        loop {
            match self.inbox.next_while_stopping(LATE) {
                Some(Next::End) => return None,
                Some(Next::Stopped(reason)) => return Some(reason),
                Some(Next::Execute(envelope)) => self.execute_while_stopping(envelope),
                None => {
                    // Kicks the vCPUs that have not left the guest.
                    self.machine.pause();
                    self.warn_of_late_vcpus(&mut warned);
                }
            }
        }
    }

    /// Emits one warning for each wait, with the vCPUs that have not left the guest.
    fn warn_of_late_vcpus(&self, warned: &mut bool) {
        let late = self.machine.running_vcpus();
        if *warned || late.is_empty() {
            return;
        }
        *warned = true;
        let names: Vec<_> = late.iter().map(usize::to_string).collect();
        let message = format!(
            "vCPU {} has not stopped for {} seconds. It waits for a handler of a device or an MSR in JavaScript, or for the host's kernel. \
             The operation continues to wait; stop() ends the machine.",
            names.join(", "),
            LATE.as_secs()
        );
        self.emit(Event::Warning(Warning { code: WarningCode::VcpuNotStopped, message }));
    }

    fn reset(&mut self) -> Result<Reply, Failure> {
        let mut debugged = false;
        if self.state == RunState::Running {
            let reason = self.stop_vcpus().ok_or_else(|| self.ended(Operation::Reset))?;
            debugged = matches!(reason, StopReason::Debug(_));
            self.settle(reason, Then::Reset)?;
            if self.over {
                return Err(self.ended(Operation::Reset));
            }
        }
        self.restart(M::reset)?;
        if self.state == RunState::Running {
            self.emit(Event::Reset { guest: false, state: RunState::Running });
            self.machine.resume();
            return Ok(Reply::Done);
        }
        self.state = RunState::Prelaunch;
        self.exit = None;
        self.emit(Event::Reset { guest: false, state: RunState::Prelaunch });
        if debugged {
            // The machine was running when the reset command arrived.
            self.begin();
            self.machine.resume();
        }
        Ok(Reply::Done)
    }

    /// Decides what follows after the vCPUs have stopped for `reason`.
    fn settle(&mut self, reason: StopReason, then: Then) -> Result<(), Failure> {
        let stepping = self.stepping.take();
        let stop = match &reason {
            StopReason::Debug(stop) => Some(*stop),
            _ => None,
        };
        let result = match reason {
            StopReason::Paused => self.resume_unless_stopped(then),
            StopReason::Debug(stop) => {
                self.leave(RunState::Debug, None);
                self.emit(Event::Debug(stop));
                Ok(())
            }
            StopReason::Guest(request) => self.requested(request, then),
            StopReason::Fault(fault) => {
                self.fail(fault);
                Ok(())
            }
        };
        if let Some(id) = stepping {
            self.outbox.reply(id, Ok(Reply::Stepped(stop)));
        }
        result
    }

    /// Handles a request of the guest, such as a shutdown or a reset.
    fn requested(&mut self, request: Request, then: Then) -> Result<(), Failure> {
        match request {
            Request::Shutdown => self.guest_ended(ExitReason::GuestShutdown.into()),
            Request::Panic if self.policy.no_shutdown => {
                self.leave(RunState::GuestPanicked, Some(ExitReason::GuestPanicked.into()));
            }
            // QEMU's default is to end the machine, too.
            Request::Panic => self.guest_ended(ExitReason::GuestPanicked.into()),
            Request::DebugExit { value } => {
                let status = u8::try_from((value << 1 | 1) & 0xff).ok();
                self.guest_ended(Exit { status, ..ExitReason::DebugExit.into() });
            }
            Request::Reset if self.policy.no_reboot => self.guest_ended(ExitReason::GuestReset.into()),
            Request::Reset => {
                self.restart(M::reset)?;
                self.emit(Event::Reset { guest: true, state: RunState::Running });
                return self.resume_unless_stopped(then);
            }
            Request::Wake => {
                self.restart(M::wake)?;
                return self.resume_unless_stopped(then);
            }
        }
        Ok(())
    }

    /// Resumes the vCPUs, unless a pause or a reset stopped them.
    fn resume_unless_stopped(&mut self, then: Then) -> Result<(), Failure> {
        match then {
            Then::GoOn => self.machine.resume(),
            Then::Reset => {}
            Then::Pause => match self.quiesce() {
                Ok(()) => {
                    self.state = RunState::Paused;
                    self.emit(Event::Stop { state: RunState::Paused, exit: None });
                }
                Err(failure) => {
                    // The machine is paused only if its devices are quiescent.
                    self.machine.resume();
                    return Err(failure);
                }
            },
        }
        Ok(())
    }

    /// Resets or wakes the machine. On failure, the machine enters `internal-error`.
    fn restart(
        &mut self,
        how: impl FnOnce(&mut M, &kvm_accel::cancel::Cancel) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let result = how(&mut self.machine, self.inbox.cancel());
        if let Err(failure) = &result
            && !self.inbox.cancel().is_cancelled()
        {
            let exit = Exit {
                detail: Some(failure.message.clone()),
                report: failure.report.clone(),
                ..ExitReason::InternalError.into()
            };
            self.leave(RunState::InternalError, Some(exit));
        }
        result
    }

    fn fail(&mut self, fault: Fault) {
        let exit = Exit { detail: Some(fault.message), report: Some(fault.report), ..ExitReason::InternalError.into() };
        self.leave(RunState::InternalError, Some(exit));
    }

    /// Leaves `running` for a state in which the machine can be inspected.
    fn leave(&mut self, state: RunState, exit: Option<Exit>) {
        if let Err(failure) = self.quiesce() {
            let (message, remedy) = (&failure.message, &failure.remedy);
            let message = format!("{message}: guest memory may still change. {remedy}");
            self.emit(Event::Warning(Warning { code: WarningCode::DeviceNotStill, message }));
        }
        self.state = state;
        self.exit.clone_from(&exit);
        self.emit(Event::Stop { state, exit });
    }

    /// Handles the end of the machine by the guest. With `no_shutdown`, the machine is kept in `shutdown`.
    fn guest_ended(&mut self, exit: Exit) {
        self.leave(RunState::Shutdown, Some(exit.clone()));
        self.emit(Event::Shutdown { reason: exit.reason, exit });
        self.over = !self.policy.no_shutdown;
    }

    /// Waits until every device is quiescent, the deadline passes, or the machine is ended.
    fn quiesce(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + QUIESCENCE;
        loop {
            let now = Instant::now();
            let result = self.machine.quiesce(deadline.min(now + SLICE));
            if result.is_ok() || now >= deadline || self.inbox.cancel().is_cancelled() {
                return result;
            }
        }
    }

    /// Reports a panic of the control thread as an internal error. The machine cannot continue; the host has to end it.
    pub fn panicked(&mut self, message: &str) {
        let failure = Failure::internal("the control thread", message);
        if let Some(id) = self.executing.take() {
            self.outbox.reply(id, Err(failure.clone()));
        }
        let exit = Exit { detail: Some(failure.message.clone()), ..ExitReason::InternalError.into() };
        self.state = RunState::InternalError;
        self.exit = Some(exit.clone());
        self.emit(Event::Stop { state: RunState::InternalError, exit: Some(exit) });
    }

    /// Ends the machine, and replies to every command that was sent.
    pub fn finish(&mut self) {
        self.machine.end();
        let was_running = self.state == RunState::Running;
        if !self.over {
            self.state = RunState::Shutdown;
            let exit = self.exit.get_or_insert_with(|| ExitReason::HostQuit.into()).clone();
            if was_running {
                self.emit(Event::Stop { state: RunState::Shutdown, exit: Some(exit.clone()) });
            }
            self.emit(Event::Shutdown { reason: ExitReason::HostQuit, exit });
        }
        if let Some(id) = self.stepping.take() {
            self.outbox.reply(id, Ok(Reply::Stepped(None)));
        }
        if let Some(id) = self.pausing.take() {
            // The vCPUs have left the guest, so the pause has succeeded.
            self.outbox.reply(id, Ok(Reply::Done));
        }
        for Envelope { id, command, .. } in self.inbox.close().into_iter().filter(|envelope| !envelope.answered) {
            let result = match command {
                // Ending the machine has stopped the guest, which is what the pause asked for.
                Command::Pause if was_running => Ok(Reply::Done),
                other => Err(self.ended(other.operation())),
            };
            self.outbox.reply(id, result);
        }
    }
}
