//! What a transport and its device's thread share: requests of the transport, acknowledgements of the thread, and the event that wakes
//! the thread. `loom_tests.rs` compiles this file a second time, with loom's primitives.
//!
//! The transport changes the state, sets the worker's [`StopFlag`] where the worker has to return, and then signals the event. The
//! thread clears the event before it reads the state, so that a change is never missed. Neither side holds the mutex while it waits,
//! while it calls a worker, or while it drops one.

use super::StopFlag;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A device's thread did not acknowledge in time: the kernel has not completed an operation of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the I/O thread of the device has not answered in time: an operation is still in flight in the host's kernel")]
pub struct Unanswered;

/// What the thread waits for. A signal stays until it is cleared.
pub trait Wake {
    /// Wakes the thread, now or when it next waits.
    fn signal(&self);

    /// Forgets the signals so far.
    fn clear(&self);
}

/// See the module. `W` is a worker.
pub struct Shared<W, E> {
    pub flag: StopFlag,
    state: Mutex<State<W>>,
    /// Signalled when the thread has acknowledged something.
    acknowledged: Condvar,
    pub wake: E,
}

struct State<W> {
    /// A worker that the thread has not taken over yet.
    starting: Option<W>,
    /// Acknowledged when false: there is no worker, neither in `starting` nor at work.
    occupied: bool,
    /// The worker is to be dropped.
    stop: bool,
    /// The worker is to finish what is in flight and to begin nothing.
    pause: bool,
    /// Acknowledged: the thread has seen `pause`, nothing is in flight, and nothing begins before `pause` is false.
    quiet: bool,
    /// The thread is to end.
    end: bool,
    /// Acknowledged: the thread has ended.
    ended: bool,
}

/// What the thread has done for the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// The worker before is gone; there may be another one.
    pub replaced: bool,
    /// The worker is to begin nothing.
    pub pause: bool,
    /// The thread is to end.
    pub end: bool,
}

impl<W, E: Wake> Shared<W, E> {
    pub fn new(flag: StopFlag, wake: E) -> Self {
        let state = State {
            starting: None,
            occupied: false,
            stop: false,
            pause: false,
            quiet: false,
            end: false,
            ended: false,
        };
        Self { flag, state: Mutex::new(state), acknowledged: Condvar::new(), wake }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the thread.
    fn ask<T>(&self, change: impl FnOnce(&mut State<W>) -> T) -> T {
        let result = change(&mut self.lock());
        self.wake.signal();
        result
    }

    /// Waits until the thread has changed the state so that `waiting` is false.
    fn wait(&self, deadline: Instant, waiting: impl Fn(&State<W>) -> bool) -> Result<(), Unanswered> {
        let mut state = self.lock();
        while waiting(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unanswered);
            }
            (state, _) = self.acknowledged.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn acknowledge(&self, change: impl FnOnce(&mut State<W>)) {
        change(&mut self.lock());
        self.acknowledged.notify_all();
    }
}

/// For the transport.
impl<W, E: Wake> Shared<W, E> {
    /// Hands over a worker. The worker before has been stopped.
    pub fn start(&self, worker: W) {
        self.ask(|state| (state.starting, state.occupied, state.quiet) = (Some(worker), true, false));
    }

    /// Asks for the worker to be dropped. Returns a worker that the thread has not taken over: the caller drops it, and does not depend
    /// on when the host runs the thread.
    #[must_use]
    pub fn request_stop(&self) -> Option<W> {
        let unused = self.ask(|state| {
            let unused = state.starting.take();
            // While a worker waits to be taken over, there is no other one.
            state.occupied &= unused.is_none();
            state.stop = state.occupied;
            self.flag.set_stop(state.stop || state.end);
            unused
        });
        self.acknowledged.notify_all();
        unused
    }

    /// Waits until there is no worker.
    pub fn wait_until_stopped(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.wait(deadline, |state| state.occupied)
    }

    /// Asks the worker to finish what is in flight and to begin nothing.
    pub fn pause(&self) {
        self.ask(|state| {
            state.pause = true;
            self.flag.set_pause(true);
        });
    }

    /// Waits until nothing is in flight, or the machine resumes, or there is no worker.
    pub fn wait_until_quiet(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.wait(deadline, |state| state.pause && state.occupied && !state.quiet)
    }

    /// Lets the worker continue.
    pub fn resume(&self) {
        self.ask(|state| {
            (state.pause, state.quiet) = (false, false);
            self.flag.set_pause(false);
        });
        self.acknowledged.notify_all();
    }

    /// Asks the thread to end.
    pub fn request_end(&self) {
        self.ask(|state| {
            state.end = true;
            self.flag.set_stop(true);
        });
    }

    /// Waits until the thread has ended.
    pub fn wait_until_ended(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.wait(deadline, |state| !state.ended)
    }
}

/// For the thread.
impl<W, E: Wake> Shared<W, E> {
    /// Does what the transport asks for. `discard` drops a worker.
    pub fn obey(&self, worker: &mut Option<W>, discard: impl Fn(Option<W>)) -> Obeyed {
        // Before the state is read: what changes later signals again.
        self.wake.clear();
        let (starting, stop, pause, end) = {
            let mut state = self.lock();
            (state.starting.take(), state.stop, state.pause, state.end)
        };
        let replaced = starting.is_some() || stop || end;
        if let Some(starting) = starting {
            discard(worker.replace(starting));
        }
        if stop || end {
            discard(worker.take());
            self.released();
        }
        Obeyed { replaced, pause, end }
    }

    /// Acknowledges that there is no worker any more.
    pub fn released(&self) {
        self.acknowledge(|state| {
            // The transport starts no worker before it has seen this one go.
            (state.occupied, state.stop) = (false, false);
            self.flag.set_stop(state.end);
        });
    }

    /// Acknowledges a pause: nothing is in flight.
    pub fn quiet(&self) {
        self.acknowledge(|state| state.quiet = state.pause);
    }

    /// Acknowledges that the thread has ended.
    pub fn ended(&self) {
        self.acknowledge(|state| (state.occupied, state.ended) = (false, true));
    }
}
