//! Sockets of host programs that belong to no connection: the handshake is incomplete, or the guest has ended the connection.

use super::handshake::{Handshake, Progress};
use super::host::HostEnd;
use super::key::{Key, LISTENER, NO_PORT};
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use std::collections::HashMap;

enum State {
    /// The program has not sent the whole handshake.
    Handshake(OwnedFd, Handshake),
    /// The guest has ended the connection, and its last bytes are not written yet.
    Draining(HostEnd),
}

/// A request of a host program: its socket, and the guest's port.
pub struct Request {
    /// The socket, which is watched.
    pub socket: OwnedFd,
    /// The guest's port.
    pub port: u32,
}

/// The sockets, by the keys under which they are watched.
#[derive(Default)]
pub struct Unconnected {
    sockets: HashMap<Key, State>,
    next: u32,
}

impl Unconnected {
    /// Returns the number of sockets.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Returns a key that no socket has.
    pub fn free_key(&mut self) -> Key {
        loop {
            let key = Key { host: NO_PORT, guest: self.next };
            self.next = if key.guest == LISTENER.guest - 1 { 0 } else { key.guest + 1 };
            if !self.sockets.contains_key(&key) {
                return key;
            }
        }
    }

    /// Adds a socket whose program sends a handshake.
    pub fn insert_handshake(&mut self, key: Key, socket: OwnedFd) {
        self.sockets.insert(key, State::Handshake(socket, Handshake::default()));
    }

    /// Adds a socket that is closed once all bytes of the guest are written.
    pub fn insert_draining(&mut self, key: Key, host: HostEnd) {
        self.sockets.insert(key, State::Draining(host));
    }

    /// Handles an event of a socket. Removes and returns the socket when its handshake is complete.
    pub fn event(&mut self, key: Key, flags: EventFlags) -> Option<Request> {
        match self.sockets.get_mut(&key)? {
            State::Handshake(socket, handshake) => match handshake.read(&*socket) {
                Progress::Incomplete => {}
                Progress::Violation => drop(self.sockets.remove(&key)),
                Progress::Connect(port) => {
                    if let Some(State::Handshake(socket, _)) = self.sockets.remove(&key) {
                        return Some(Request { socket, port });
                    }
                }
            },
            State::Draining(host) => {
                host.edge(flags);
                host.flush();
                if host.is_finished() {
                    self.sockets.remove(&key);
                }
            }
        }
        None
    }
}
