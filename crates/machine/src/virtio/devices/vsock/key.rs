//! What a socket is watched as.

use rustix::event::epoll::EventData;

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The host's port.
    pub host: u32,
    /// The guest's port.
    pub guest: u32,
}

/// VMADDR_PORT_ANY: no connection has it, so that others may be named by it.
pub const NO_PORT: u32 = u32::MAX;
/// The worker is wanted.
pub const WAKE: Key = Key { host: NO_PORT, guest: NO_PORT };
/// A program of the host wants a connection.
pub const LISTENER: Key = Key { host: NO_PORT, guest: NO_PORT - 1 };

impl Key {
    /// As epoll carries it.
    pub fn data(self) -> EventData {
        EventData::new_u64(u64::from(self.host) << 32 | u64::from(self.guest))
    }

    /// As epoll gives it back.
    pub fn of(data: EventData) -> Self {
        let [a, b, c, d, e, f, g, h] = data.u64().to_be_bytes();
        Self { host: u32::from_be_bytes([a, b, c, d]), guest: u32::from_be_bytes([e, f, g, h]) }
    }
}
