//! What the control thread waits for: commands, the vCPUs' stop, and the end.

use crate::Command;
use crate::sync::{Condvar, Mutex, lock};
use kvm_accel::StopReason;
use kvm_accel::cancel::Cancel;
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

/// A command and the id that its reply carries.
#[derive(Debug)]
pub struct Envelope {
    pub id: u32,
    pub command: Command,
    /// A vCPU waits for the caller. A pause or a reset is then answered when the vCPUs have been asked to stop.
    pub nested: bool,
    /// It was answered already.
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
    /// Commands sent by code that a vCPU waits for. They are executed even while the control thread waits for that vCPU.
    nested: VecDeque<Envelope>,
    /// At most one stop follows each resume.
    stopped: Option<StopReason>,
    ending: bool,
    closed: bool,
    last_id: u32,
}

/// Breaks the waits of the control thread for the machine's other threads.
type AtEnd = Box<dyn Fn() + Send>;

/// The queue of one machine.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
    at_end: Mutex<Option<AtEnd>>,
}

impl State {
    /// What comes first. Without `commands` only those of a nested caller are executed.
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
    /// `nested`: the caller is code that a vCPU waits for (a device in JavaScript). Its command must not wait for that vCPU to stop,
    /// so it is executed at once, or refused because the machine runs. Pause and reset are answered when the vCPUs have been asked to
    /// stop.
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

    /// Puts a nested pause or reset that was answered among the commands: it takes its turn.
    pub fn put_off(&self, envelope: Envelope) {
        lock(&self.state).commands.push_back(Envelope { answered: true, ..envelope });
    }

    /// Called when the last vCPU has left the guest.
    pub fn stopped(&self, reason: StopReason) {
        lock(&self.state).stopped = Some(reason);
        self.changed.notify_all();
    }

    /// Asks for the end of the machine, before all commands, and cancels the one that is being executed.
    pub fn end(&self) {
        lock(&self.state).ending = true;
        self.cancel.cancel();
        self.changed.notify_all();
        if let Some(at_end) = &*lock(&self.at_end) {
            at_end();
        }
    }

    /// Has [`Inbox::end`] call this, too; at once when it was called before.
    pub fn on_end(&self, at_end: AtEnd) {
        let mut place = lock(&self.at_end);
        // The flag is set before the lock is taken in `end`: one of the two calls it.
        if self.cancel.is_cancelled() {
            at_end();
        }
        *place = Some(at_end);
    }

    /// The flag that [`Inbox::end`] sets.
    pub const fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Waits for something to do.
    pub fn next(&self) -> Next {
        let mut state = lock(&self.state);
        loop {
            if let Some(next) = state.next(true) {
                return next;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the vCPUs to stop, for at most `patience`, and meanwhile hands out nested commands only.
    pub fn next_while_stopping(&self, patience: Duration) -> Option<Next> {
        let mut found = None;
        let nothing = |state: &mut State| {
            found = state.next(false);
            found.is_none()
        };
        drop(self.changed.wait_timeout_while(lock(&self.state), patience, nothing));
        found
    }

    /// Refuses further commands and returns those that were not executed.
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

    /// Waits until [`Inbox::close`] was called; false when that takes longer than `patience`.
    pub fn wait_closed(&self, patience: Duration) -> bool {
        let open = |state: &mut State| !state.closed;
        let (state, _) =
            self.changed.wait_timeout_while(lock(&self.state), patience, open).unwrap_or_else(PoisonError::into_inner);
        state.closed
    }
}
