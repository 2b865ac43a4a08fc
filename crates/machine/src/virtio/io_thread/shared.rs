//! State that a transport and its device's thread share: requests of the transport, acknowledgements of the thread, and the event that
//! wakes the thread. `loom_tests.rs` compiles this file a second time, with loom's primitives.
//!
//! The transport changes the state, sets the worker's [`StopFlag`] if the worker has to return, and then signals the event. The thread
//! clears the event before it reads the state, so that it never misses a change. Neither side holds the mutex while it waits, calls a
//! worker or drops a worker.

use super::StopFlag;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The device's thread did not acknowledge a request before the deadline: the kernel has not completed an operation of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the I/O thread of the device has not answered in time: an operation is still in flight in the host's kernel")]
pub struct Unanswered;

/// The event that wakes the thread. A signal persists until it is cleared.
pub trait Wake {
    /// Wakes the thread, or makes its next wait return at once.
    fn signal(&self);

    /// Clears all signals.
    fn clear(&self);
}

/// State shared by a transport and its device's thread; see the module. `W` is the type of a worker.
pub struct Shared<W, E> {
    pub flag: StopFlag,
    state: Mutex<State<W>>,
    /// Signalled when the thread acknowledges a request.
    acknowledged: Condvar,
    pub wake: E,
}

struct State<W> {
    /// A worker that the transport has handed over and the thread has not taken yet.
    starting: Option<W>,
    /// There is a worker, in `starting` or on the thread. The thread acknowledges a stop by setting this to false.
    occupied: bool,
    /// Requested: the thread has to drop the worker.
    stop: bool,
    /// Requested: the worker has to finish the operations in flight and to begin none.
    pause: bool,
    /// Acknowledged: the thread has seen `pause`, nothing is in flight, and nothing begins before `pause` is false.
    quiet: bool,
    /// Requested: the thread has to end.
    end: bool,
    /// Acknowledged: the thread has ended.
    ended: bool,
}

/// The result of [`Shared::obey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// The previous worker has been dropped or replaced.
    pub replaced: bool,
    /// The worker must not begin operations.
    pub pause: bool,
    /// The thread has to end.
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

    /// Waits while `waiting` returns true for the state, at most until the deadline.
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

/// Called by the transport.
impl<W, E: Wake> Shared<W, E> {
    /// Hands over a worker. The caller has stopped the previous worker.
    pub fn start(&self, worker: W) {
        self.ask(|state| (state.starting, state.occupied, state.quiet) = (Some(worker), true, false));
    }

    /// Asks the thread to drop the worker. If the thread has not taken the worker yet, returns it: the caller drops it, without waiting
    /// until the host schedules the thread.
    #[must_use]
    pub fn request_stop(&self) -> Option<W> {
        let unused = self.ask(|state| {
            let unused = state.starting.take();
            // A worker in `starting` is the only worker.
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

    /// Asks the worker to finish the operations in flight and to begin none.
    pub fn pause(&self) {
        self.ask(|state| {
            state.pause = true;
            self.flag.set_pause(true);
        });
    }

    /// Waits until no operation is in flight, the machine resumes, or there is no worker.
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

/// Called by the thread.
impl<W, E: Wake> Shared<W, E> {
    /// Executes the requests of the transport. `discard` drops a worker.
    pub fn obey(&self, worker: &mut Option<W>, discard: impl Fn(Option<W>)) -> Obeyed {
        // Clears the event before it reads the state: a later change signals the event again.
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

    /// Acknowledges that the worker has been dropped.
    pub fn released(&self) {
        self.acknowledge(|state| {
            // The transport starts the next worker only after this acknowledgement.
            (state.occupied, state.stop) = (false, false);
            self.flag.set_stop(state.end);
        });
    }

    /// Acknowledges a pause: no operation is in flight.
    pub fn quiet(&self) {
        self.acknowledge(|state| state.quiet = state.pause);
    }

    /// Acknowledges that the thread has ended.
    pub fn ended(&self) {
        self.acknowledge(|state| (state.occupied, state.ended) = (false, true));
    }
}
