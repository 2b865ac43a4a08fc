//! The control thread's inbox: commands, the stop of the vCPUs, and the end of the machine.

use crate::Command;
use crate::sync::{Condvar, Mutex, lock};
use kvm_accel::StopReason;
use kvm_accel::cancel::Cancel;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

/// A command and the id of its reply.
#[derive(Debug)]
pub struct Envelope {
    pub id: u32,
    pub command: Command,
    /// A vCPU waits for the sender. The reply to a nested pause or reset is sent when the vCPUs have been asked to stop.
    pub nested: bool,
    /// The reply has been sent already.
    pub answered: bool,
}

/// What the control thread does next.
#[derive(Debug)]
pub enum Next {
    /// End the machine.
    End,
    /// The vCPUs have left the guest by themselves.
    Stopped(StopReason),
    /// Execute a command.
    Execute(Envelope),
}

#[derive(Default)]
struct State {
    commands: VecDeque<Envelope>,
    /// Commands of senders that a vCPU waits for. They are executed even while the control thread waits for that vCPU to stop.
    nested: VecDeque<Envelope>,
    /// At most one stop follows each resume.
    stopped: Option<StopReason>,
    ending: bool,
    closed: bool,
    last_id: u32,
}

/// A callback that interrupts the control thread's waits for other threads of the machine.
type AtEnd = Box<dyn Fn() + Send>;

/// The inbox of one machine.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
    at_end: Mutex<Option<AtEnd>>,
}

impl State {
    /// Returns the next item by priority. With `commands` false, it leaves commands that are not nested in the queue.
    fn next(&mut self, commands: bool) -> Option<Next> {
        if self.ending {
            return Some(Next::End);
        }
        if let Some(reason) = self.stopped.take() {
            return Some(Next::Stopped(reason));
        }
        let command = self.nested.pop_front().or_else(|| if commands { self.commands.pop_front() } else { None });
        command.map(Next::Execute)
    }
}

impl Inbox {
    /// Adds a command and returns its id; none when the machine has ended.
    ///
    /// `nested` is true if a vCPU waits for the sender (a device in JavaScript). The command must not wait for that vCPU to stop, so it is
    /// executed at once, or refused because the machine runs. The reply to a nested pause or reset is sent when the vCPUs have been asked
    /// to stop.
    pub fn send(&self, command: Command, nested: bool) -> Option<u32> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.last_id = state.last_id.wrapping_add(1).max(1);
        let id = state.last_id;
        let queue = if nested { &mut state.nested } else { &mut state.commands };
        queue.push_back(Envelope { id, command, nested, answered: false });
        drop(state);
        self.changed.notify_all();
        Some(id)
    }

    /// Queues a nested pause or reset, whose reply has been sent, behind the other commands.
    pub fn put_off(&self, envelope: Envelope) {
        lock(&self.state).commands.push_back(Envelope { answered: true, ..envelope });
    }

    /// Reports that the last vCPU has left the guest, and why.
    pub fn stopped(&self, reason: StopReason) {
        lock(&self.state).stopped = Some(reason);
        self.changed.notify_all();
    }

    /// Requests the end of the machine, with priority over all commands, and cancels the command that is being executed.
    pub fn end(&self) {
        lock(&self.state).ending = true;
        self.cancel.cancel();
        self.changed.notify_all();
        if let Some(at_end) = &*lock(&self.at_end) {
            at_end();
        }
    }

    /// Registers a callback that [`Inbox::end`] calls. Calls it at once if [`Inbox::end`] has been called already.
    pub fn on_end(&self, at_end: AtEnd) {
        let mut place = lock(&self.at_end);
        // `end` sets the flag before it takes the lock, so either `end` or this function calls `at_end`.
        if self.cancel.is_cancelled() {
            at_end();
        }
        *place = Some(at_end);
    }

    /// Returns the flag that [`Inbox::end`] sets.
    pub const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Waits for the next item.
    pub fn next(&self) -> Next {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.next(true) {
                return next;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits at most `patience` for the vCPUs to stop. Meanwhile it returns nested commands, but no others.
    pub fn next_while_stopping(&self, patience: Duration) -> Option<Next> {
        let mut found = None;
        let nothing = |state: &mut State| {
            found = state.next(false);
            found.is_none()
        };
        drop(self.changed.wait_timeout_while(lock(&self.state), patience, nothing));
        found
    }

    /// Refuses further commands, and returns those that have not been executed.
    pub fn close(&self) -> Vec<Envelope> {
        let mut state = lock(&self.state);
        state.closed = true;
        lock(&self.at_end).take();
        let State { commands, nested, .. } = &mut *state;
        let rest = nested.drain(..).chain(commands.drain(..)).collect();
        drop(state);
        self.changed.notify_all();
        rest
    }

    /// Waits until [`Inbox::close`] has been called. Returns false after `patience`.
    pub fn wait_closed(&self, patience: Duration) -> bool {
        let open = |state: &mut State| !state.closed;
        let (state, _) =
            self.changed.wait_timeout_while(lock(&self.state), patience, open).unwrap_or_else(PoisonError::into_inner);
        state.closed
    }
}
