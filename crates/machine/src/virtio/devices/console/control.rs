//! Control messages about ports (section 5.3.6.2).

use super::Size;

// Events, by the specification's names without VIRTIO_CONSOLE_.
const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// Size of a message in bytes: port number, event, value.
pub const MESSAGE: usize = 8;

/// A message from the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromDriver {
    /// The driver asks for the list of ports.
    DeviceReady,
    /// The driver has set up a port.
    PortReady { id: u32 },
    /// A program of the guest has opened or closed a port.
    PortOpen { id: u32, open: bool },
    /// The driver failed to set something up, or the message is not one that a driver sends.
    Other,
}

impl FromDriver {
    pub fn from_bytes(bytes: [u8; MESSAGE]) -> Self {
        let [i0, i1, i2, i3, e0, e1, v0, v1] = bytes;
        let (id, event, value) =
            (u32::from_le_bytes([i0, i1, i2, i3]), u16::from_le_bytes([e0, e1]), u16::from_le_bytes([v0, v1]));
        match event {
            DEVICE_READY if value == 1 => Self::DeviceReady,
            PORT_READY if value == 1 => Self::PortReady { id },
            PORT_OPEN => Self::PortOpen { id, open: value != 0 },
            _ => Self::Other,
        }
    }
}

/// A message to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToDriver<'a> {
    /// The port exists.
    Add,
    /// The port is a terminal.
    Console,
    /// The host's end of the port is open.
    Open,
    /// The size of the terminal.
    Resize(Size),
    /// The name of the port.
    Name(&'a str),
}

impl ToDriver<'_> {
    /// True if an encoded message is the size of this port.
    pub fn is_resize(message: &[u8], id: u32) -> bool {
        message.starts_with(&[&id.to_le_bytes()[..], &RESIZE.to_le_bytes()].concat())
    }

    pub fn to_bytes(&self, id: u32) -> Vec<u8> {
        let (event, value, more): (u16, u16, _) = match self {
            Self::Add => (PORT_ADD, 1, Vec::new()),
            Self::Console => (CONSOLE_PORT, 1, Vec::new()),
            Self::Open => (PORT_OPEN, 1, Vec::new()),
            // The order of the specification. Linux before 6.15 reads the two fields in the other order.
            Self::Resize(Size { columns, rows }) => (RESIZE, 0, [columns.to_le_bytes(), rows.to_le_bytes()].concat()),
            // Linux replaces the last byte by a zero.
            Self::Name(name) => (PORT_NAME, 1, [name.as_bytes(), &[0]].concat()),
        };
        [&id.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), &more].concat()
    }
}
