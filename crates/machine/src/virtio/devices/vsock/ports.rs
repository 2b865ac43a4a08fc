//! Listeners of this process on ports of the host, and its connection requests to ports of the guest.

use super::VsockError;
use kvm_accel::lock;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

/// Receives the result of a connection request: the host's port.
pub type Done = Box<dyn FnOnce(Result<u32, VsockError>) + Send>;

/// A request for a connection to a port of the guest.
pub struct Connect {
    /// The guest's port.
    pub port: u32,
    /// The device's end of the stream.
    pub socket: UnixStream,
    /// Called once, on any thread.
    pub done: Done,
}

/// The state that the device's worker and the rest of the process share. A reset ends the worker, but not this state.
pub struct Ports {
    state: Mutex<State>,
    /// An eventfd that wakes the worker.
    wake: OwnedFd,
    /// The most connections that wait to be accepted, at all listeners together. Each holds two descriptors until it is accepted, even if
    /// the guest resets it.
    most: usize,
}

#[derive(Default)]
struct State {
    /// True while there is a worker.
    active: bool,
    /// A reset has cut connections, and the guest has not been notified yet.
    interrupted: bool,
    connects: Vec<Connect>,
    listeners: HashMap<u32, Arc<Backlog>>,
}

/// Connections of the guest that wait to be accepted.
struct Backlog {
    waiting: Mutex<VecDeque<Accepted>>,
    limit: usize,
    arrived: Box<dyn Fn() + Send + Sync>,
}

/// A connection that the guest has opened.
#[derive(Debug)]
pub struct Accepted {
    /// The host's end.
    pub socket: UnixStream,
    /// The guest's port.
    pub port: u32,
}

/// A listener on a port of the host. Dropping it stops listening, and closes connections that were not accepted.
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
    /// Takes the next connection that waits to be accepted.
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
    /// Creates the state. At most `most` connections may wait to be accepted, at all listeners together.
    pub fn new(most: usize) -> rustix::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), wake, most })
    }

    /// Returns an eventfd that is readable when [`Ports::take_connects`] may return requests.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Passes a connection request to the worker. Without a worker, the request is refused at once.
    pub fn connect(&self, connect: Connect) {
        let mut state = lock(&self.state);
        if !state.active {
            drop(state);
            return (connect.done)(Err(VsockError::NotReady));
        }
        state.connects.push(connect);
        self.wake();
    }

    /// Wakes the worker.
    pub fn wake(&self) {
        // An error means that the counter is full, so the worker is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Takes the requests since the last call.
    pub fn take_connects(&self) -> Vec<Connect> {
        // An error means that the counter is 0: there was no request.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut lock(&self.state).connects)
    }

    /// Listens on a port. The device's thread calls `arrived` when there is a connection to accept.
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

    /// Returns the device's end of a connection to the listener on the port. `None` if the port has no listener; `Some(None)` if too many
    /// connections wait to be accepted or no descriptor is left.
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

    /// Records that a worker has started. Returns whether a reset has cut connections before.
    pub fn activate(&self) -> bool {
        let mut state = lock(&self.state);
        state.active = true;
        std::mem::take(&mut state.interrupted)
    }

    /// Records that the worker has ended. Requests that it has not taken are refused.
    pub fn deactivate(&self, interrupted: bool) {
        let mut state = lock(&self.state);
        state.active = false;
        state.interrupted |= interrupted;
        let connects = std::mem::take(&mut state.connects);
        drop(state);
        connects.into_iter().for_each(|connect| (connect.done)(Err(VsockError::NotReady)));
    }
}
