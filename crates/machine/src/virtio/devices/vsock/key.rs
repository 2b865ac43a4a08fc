//! Epoll tokens of the sockets.

use rustix::event::epoll::EventData;

/// Identifies a connection by its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The host's port.
    pub host: u32,
    /// The guest's port.
    pub guest: u32,
}

/// VMADDR_PORT_ANY: no connection uses this port, so tokens with it identify other sockets.
pub const NO_PORT: u32 = u32::MAX;
/// The token of the eventfd that wakes the worker.
pub const WAKE: Key = Key { host: NO_PORT, guest: NO_PORT };
/// The token of the listening socket, to which programs of the host connect.
pub const LISTENER: Key = Key { host: NO_PORT, guest: NO_PORT - 1 };

impl Key {
    /// Returns the epoll token.
    pub fn data(self) -> EventData {
        EventData::new_u64(u64::from(self.host) << 32 | u64::from(self.guest))
    }

    /// Decodes an epoll token.
    pub fn of(data: EventData) -> Self {
        let [a, b, c, d, e, f, g, h] = data.u64().to_be_bytes();
        Self { host: u32::from_be_bytes([a, b, c, d]), guest: u32::from_be_bytes([e, f, g, h]) }
    }
}
