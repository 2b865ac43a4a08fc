//! Back ends of a network device.

use super::forward::Forward;
use super::passt::Passt;
use super::stream::Stream;
use crate::host_socket::too_long;
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use kvm_accel::tap::{Tap, TapOffload, open_tap, set_tap_offload};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection attempt is repeated while the listener's backlog is full.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait before the next attempt.
const CONNECT_AGAIN: Duration = Duration::from_millis(5);

/// Size of `struct virtio_net_hdr_v1` in bytes, which precedes every frame.
pub const HEADER: usize = 12;

/// Size of the largest frame with segmentation offload, with its header.
pub const LARGEST: usize = HEADER + 14 + 65536;

/// A back end. It sends and receives one frame at a time, with the virtio header.
#[derive(Debug)]
pub struct Backend(Kind);

#[derive(Debug)]
enum Kind {
    /// A tap interface of the host.
    Tap(File),
    /// A socket with QEMU's `-netdev stream`: each frame follows its length.
    Stream {
        stream: Stream,
        /// The process behind the socket, which ends with the stream.
        passt: Option<Passt>,
    },
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Number of bytes, with the header.
    Frame(usize),
    /// There is no frame now.
    Nothing,
    /// The back end has closed.
    Closed,
}

impl Backend {
    /// Attaches to a tap interface of the host.
    ///
    /// # Errors
    /// When attaching to the interface fails.
    pub fn tap(tap: &Tap) -> Result<Self, MachineConfigError> {
        open_tap(tap).map(|tap| Self(Kind::Tap(tap))).map_err(|error| {
            let (what, name) = match tap {
                Tap::Existing(name) => ("open", name),
                Tap::New(name) => ("create", name),
            };
            let remedy = match error.kind() {
                ErrorKind::NotFound => "Load the module: modprobe tun.",
                ErrorKind::PermissionDenied => {
                    "Let root create the interface: ip tuntap add NAME mode tap user USER. Or use user-mode networking."
                }
                ErrorKind::ResourceBusy => "Give each machine its own tap interface: another process uses this one.",
                ErrorKind::InvalidInput => {
                    "Use the name of a tap interface, at most 15 characters. 'ip tuntap' lists them."
                }
                _ if error.raw_os_error() == Some(libc::ENODEV) => {
                    "Create the interface: ip tuntap add NAME mode tap. 'ip tuntap' lists those that exist."
                }
                _ => "Check the interface with 'ip link'.",
            };
            MachineConfigError::new("networks", format!("cannot {what} the tap interface '{name}': {error}"), remedy)
        })
    }

    /// Uses a connected Unix or TCP socket with QEMU's `-netdev stream`.
    ///
    /// # Errors
    /// When setting the socket to non-blocking mode fails.
    pub fn stream(socket: OwnedFd) -> Result<Self, MachineConfigError> {
        Self::over(socket, None)
    }

    /// Connects to the Unix socket at `path`, whose listener uses QEMU's `-netdev stream`.
    ///
    /// # Errors
    /// [`SetupError::Config`] if no process listens, or if the listener's backlog stays full for 5 s; [`SetupError::Cancelled`] within
    /// about 10 ms of [`Cancel::cancel`].
    pub fn connect(path: &Path, cancel: &Cancel) -> Result<Self, SetupError> {
        Self::connect_within(CONNECT, path, cancel)
    }

    pub(super) fn connect_within(patience: Duration, path: &Path, cancel: &Cancel) -> Result<Self, SetupError> {
        let failed = |error: &dyn std::fmt::Display| {
            let message = format!("no process answers at the socket '{}': {error}", path.display());
            let remedy = "Start the listening process before the machine, which connects to it.";
            SetupError::from(MachineConfigError::new("networks", message, remedy))
        };
        if let Some(why) = too_long(path, 0) {
            let message = format!("the path '{}' {why}", path.display());
            return Err(MachineConfigError::new(
                "networks",
                message,
                "Use a shorter path, for example a relative one.",
            )
            .into());
        }
        let address = SocketAddrUnix::new(path).map_err(|error| failed(&error))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|error| failed(&error))?;
        let deadline = Instant::now() + patience;
        loop {
            cancel.check()?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(Self::stream(socket)?),
                // The backlog is full, and the kernel does not report when it has room again.
                Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(CONNECT_AGAIN),
                Err(Errno::AGAIN) => {
                    let path = path.display();
                    let message = format!(
                        "the process that listens at the socket '{path}' has accepted no connection for {patience:?}, \
                         and its backlog is full"
                    );
                    let remedy = "Check whether that process still runs and accepts connections.";
                    return Err(MachineConfigError::new("networks", message, remedy).into());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// Starts user-mode networking: a passt process, which ends with this back end. passt may refuse its options later, see
    /// `Backend::wait_until_started`.
    ///
    /// # Errors
    /// When passt is not installed, or a port of the host is taken.
    pub fn passt(forwards: &[Forward]) -> Result<Self, MachineConfigError> {
        let (passt, socket) = Passt::start(forwards)?;
        Self::over(socket, Some(passt))
    }

    fn over(socket: OwnedFd, passt: Option<Passt>) -> Result<Self, MachineConfigError> {
        let stream = Stream::new(socket).map_err(|error| {
            let message = format!("cannot use the socket of a network: {error}");
            MachineConfigError::new("networks", message, "Use a connected stream socket.")
        })?;
        Ok(Self(Kind::Stream { stream, passt }))
    }

    /// Waits until the process behind user-mode networking has started; `mac` is the guest's MAC address. Call this only before the guest
    /// uses the back end.
    ///
    /// # Errors
    /// See [`Passt::wait_until_started`].
    pub(super) fn wait_until_started(&mut self, mac: [u8; 6], cancel: &Cancel) -> Result<(), SetupError> {
        match &mut self.0 {
            Kind::Stream { stream, passt: Some(passt) } => passt.wait_until_started(stream, mac, cancel),
            Kind::Stream { passt: None, .. } | Kind::Tap(_) => Ok(()),
        }
    }

    /// True if frames may be incomplete: larger than the MTU, or without a checksum.
    pub(super) const fn offloads(&self) -> bool {
        matches!(self.0, Kind::Tap(_))
    }

    /// Sets the offloads that the guest has negotiated for received frames.
    pub(super) fn set_offload(&self, offload: TapOffload) {
        if let Kind::Tap(tap) = &self.0 {
            // A kernel that does not support an offload completes the frames itself.
            let _ = set_tap_offload(tap, offload);
        }
    }

    /// Reads the next frame.
    pub(super) fn receive(&mut self, frame: &mut [u8]) -> Received {
        match &mut self.0 {
            Kind::Tap(tap) => match tap.read(frame) {
                Ok(len) if len > HEADER => Received::Frame(len),
                Ok(_) => Received::Nothing,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    Received::Nothing
                }
                // The interface was deleted, or is down permanently.
                Err(_) => Received::Closed,
            },
            Kind::Stream { stream, .. } => {
                let (header, frame) = frame.split_at_mut(HEADER);
                header.fill(0);
                match stream.receive(frame) {
                    Received::Frame(len) => Received::Frame(HEADER + len),
                    other => other,
                }
            }
        }
    }

    /// Writes a frame, with its header first. If the back end has no room, the frame is lost, as a network may lose frames.
    pub(super) fn send(&mut self, frame: &[u8]) {
        match &mut self.0 {
            Kind::Tap(tap) => drop::<io::Result<usize>>(tap.write(frame)),
            Kind::Stream { stream, .. } => stream.send(frame.get(HEADER..).unwrap_or_default()),
        }
    }

    /// True if the back end has room for a frame. Otherwise poll until it is writable, and call [`Backend::flush`].
    pub(super) fn has_room(&self) -> bool {
        match &self.0 {
            Kind::Tap(_) => true,
            Kind::Stream { stream, .. } => stream.has_room(),
        }
    }

    /// Writes the rest of a frame that did not fit.
    pub(super) fn flush(&mut self) {
        if let Kind::Stream { stream, .. } = &mut self.0 {
            stream.flush();
        }
    }

    /// Returns the descriptor to poll: for frames, and for room to write.
    pub(super) fn source(&self, frames: bool, writable: bool) -> PollFd<'_> {
        let flags = [(frames, PollFlags::IN), (writable, PollFlags::OUT)];
        let flags = flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag).collect();
        match &self.0 {
            Kind::Tap(tap) => PollFd::new(tap, flags),
            Kind::Stream { stream, .. } => PollFd::new(stream.socket(), flags),
        }
    }
}
