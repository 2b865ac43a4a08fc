//! The epoll instance of a device, which watches its sockets for edges. It costs the same for one socket and for thousands;
//! [`Sources`](crate::Sources) is for a few descriptors. It never waits: it is one of the sources of the device's I/O thread.

use super::key::{Key, LISTENER, WAKE};
use super::path::HostPath;
use super::ports::Ports;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::io;

/// Events that one [`Sockets::events`] returns at most.
pub const EVENTS: usize = 64;

const EDGES: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// The watched sockets. Each has a [`Key`].
pub struct Sockets {
    epoll: OwnedFd,
}

impl Sockets {
    /// Watches the wake-up eventfd of `ports` as [`WAKE`] and the listening socket of `path` as [`LISTENER`].
    pub fn new(ports: &Ports, path: Option<&HostPath>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, ports.wake_fd(), WAKE.data(), EventFlags::IN)?;
        if let Some(path) = path {
            epoll::add(&epoll, path.listener(), LISTENER.data(), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self { epoll })
    }

    /// Returns a descriptor that is readable while events are pending.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Starts to watch `socket`.
    pub fn watch(&self, socket: impl AsFd, key: Key) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, socket, key.data(), EDGES)
    }

    /// Changes the key of a watched socket.
    pub fn rename(&self, socket: impl AsFd, key: Key) -> rustix::io::Result<()> {
        epoll::modify(&self.epoll, socket, key.data(), EDGES)
    }

    /// Returns pending events without waiting.
    #[expect(clippy::disallowed_methods, reason = "does not wait")]
    pub fn events(&self) -> io::Result<impl Iterator<Item = (Key, EventFlags)> + use<>> {
        let none = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [none; EVENTS];
        let count = match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(events.into_iter().take(count).map(|Event { flags, data }| (Key::of(data), flags)))
    }
}
