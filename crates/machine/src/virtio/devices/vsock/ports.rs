//! Who of this process listens to which port of the host, and connects to which port of the guest.

use super::VsockError;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hears what became of a connection that was asked for: the host's port of it.
pub type Done = Box<dyn FnOnce(Result<u32, VsockError>) + Send>;

/// A connection to a port of the guest that somebody wants.
pub struct Connect {
    /// The guest's port.
    pub port: u32,
    /// The device's end.
    pub socket: UnixStream,
    /// Called once, on whatever thread.
    pub done: Done,
}

/// What the device's worker and the rest of the process share. It outlives the worker, which a reset ends.
pub struct Ports {
    state: Mutex<State>,
    /// Wakes the worker.
    wake: OwnedFd,
    /// Connections of all listeners that may wait to be accepted. Each holds two descriptors until then, even if the guest resets it.
    most: usize,
}

#[derive(Default)]
struct State {
    /// There is a worker.
    active: bool,
    /// Connections were cut by a reset.
    interrupted: bool,
    connects: Vec<Connect>,
    listeners: HashMap<u32, Arc<Backlog>>,
}

/// Connections of the guest that nobody has accepted yet.
struct Backlog {
    waiting: Mutex<VecDeque<Accepted>>,
    limit: usize,
    arrived: Box<dyn Fn() + Send + Sync>,
}

/// A connection that the guest has made.
#[derive(Debug)]
pub struct Accepted {
    /// The host's end.
    pub socket: UnixStream,
    /// The guest's port.
    pub port: u32,
}

/// A port of the host to which somebody listens. Dropping it ends that; connections that were not accepted are closed.
pub struct Listener {
    ports: Arc<Ports>,
    port: u32,
    backlog: Arc<Backlog>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Listener {
    /// The next connection, if there is one.
    #[must_use]
    pub fn accept(&self) -> Option<Accepted> {
        lock(&self.backlog.waiting).pop_front()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.ports.state).listeners.remove(&self.port);
    }
}

impl Ports {
    /// Of all listeners together, `most` connections may wait to be accepted.
    pub fn new(most: usize) -> rustix::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), wake, most })
    }

    /// Readable when there may be something in [`Ports::take_connects`].
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Asks the worker for a connection. Without one it is refused at once.
    pub fn connect(&self, connect: Connect) {
        let mut state = lock(&self.state);
        if !state.active {
            drop(state);
            return (connect.done)(Err(VsockError::NotReady));
        }
        state.connects.push(connect);
        self.wake();
    }

    /// Has the worker look again.
    pub fn wake(&self) {
        // An error: the counter is full, and so the worker is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What was asked for since the last time.
    pub fn take_connects(&self) -> Vec<Connect> {
        // An error: nothing was asked for.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut lock(&self.state).connects)
    }

    /// Listens; `arrived` is called on the device's thread when there is something to accept.
    pub fn listen(
        self: &Arc<Self>,
        port: u32,
        limit: usize,
        arrived: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Listener, VsockError> {
        let mut state = lock(&self.state);
        if state.listeners.contains_key(&port) {
            return Err(VsockError::InUse { port });
        }
        let backlog = Arc::new(Backlog { waiting: Mutex::default(), limit, arrived });
        state.listeners.insert(port, Arc::clone(&backlog));
        Ok(Listener { ports: Arc::clone(self), port, backlog })
    }

    /// The device's end of a connection to somebody who listens to the port: `None` when nobody does, `Some(None)` when he has
    /// too many waiting or there are no descriptors.
    pub fn reach(&self, port: u32, guest_port: u32) -> Option<Option<UnixStream>> {
        let (backlog, all) = {
            let state = lock(&self.state);
            let backlog = Arc::clone(state.listeners.get(&port)?);
            (backlog, state.listeners.values().map(|other| lock(&other.waiting).len()).sum::<usize>())
        };
        let mut waiting = lock(&backlog.waiting);
        if all >= self.most || waiting.len() >= backlog.limit {
            return Some(None);
        }
        let Ok((theirs, ours)) = UnixStream::pair() else { return Some(None) };
        waiting.push_back(Accepted { socket: theirs, port: guest_port });
        drop(waiting);
        (backlog.arrived)();
        Some(Some(ours))
    }

    /// A worker starts: says whether connections were cut before.
    pub fn activate(&self) -> bool {
        let mut state = lock(&self.state);
        state.active = true;
        std::mem::take(&mut state.interrupted)
    }

    /// The worker ends; what it has not taken is refused.
    pub fn deactivate(&self, interrupted: bool) {
        let mut state = lock(&self.state);
        state.active = false;
        state.interrupted |= interrupted;
        let connects = std::mem::take(&mut state.connects);
        drop(state);
        connects.into_iter().for_each(|connect| (connect.done)(Err(VsockError::NotReady)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
