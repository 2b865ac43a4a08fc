//! Where a network's frames go to.

use super::passt::Passt;
use super::stream::Stream;
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use kvm_accel::tap::{TapOffload, open_tap, set_tap_offload};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection may take whose listener's backlog is full.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait before the next attempt.
const CONNECT_AGAIN: Duration = Duration::from_millis(5);

/// Bytes of `struct virtio_net_hdr_v1`, in front of every frame.
pub const HEADER: usize = 12;

/// The largest frame that a segmentation offload makes, with its header.
pub const LARGEST: usize = HEADER + 14 + 65536;

/// Frames with virtio's header, one at a time.
#[derive(Debug)]
pub struct Backend(Kind);

#[derive(Debug)]
enum Kind {
    /// An interface of the host.
    Tap(File),
    /// QEMU's `-netdev stream`: frames behind their length.
    Stream {
        stream: Stream,
        /// Ends with the stream.
        passt: Option<Passt>,
    },
}

/// What came of reading.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, header included.
    Frame(usize),
    /// Nothing at the moment.
    Nothing,
    /// Nothing any more.
    Closed,
}

impl Backend {
    /// A tap interface of the host.
    ///
    /// # Errors
    /// When it cannot be attached to.
    pub fn tap(name: &str) -> Result<Self, MachineConfigError> {
        open_tap(name).map(|tap| Self(Kind::Tap(tap))).map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "Load the module: modprobe tun.",
                ErrorKind::PermissionDenied => {
                    "Have root make it for you: ip tuntap add NAME mode tap user YOU; or take user-mode networking."
                }
                ErrorKind::ResourceBusy => "Another process has it: give each machine a tap of its own.",
                ErrorKind::InvalidInput => "Name a tap interface, in at most 15 characters: ip tuntap lists them.",
                _ => "Look at 'ip link'.",
            };
            MachineConfigError::new("networks", format!("the tap interface '{name}' cannot be opened: {error}"), remedy)
        })
    }

    /// A connected Unix or TCP socket that speaks QEMU's `-netdev stream`.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub fn stream(socket: OwnedFd) -> Result<Self, MachineConfigError> {
        Self::over(socket, None)
    }

    /// A Unix socket at a path, whose listener speaks QEMU's `-netdev stream`.
    ///
    /// # Errors
    /// [`SetupError::Config`] when no process listens, or none accepts within 5 s because the listener's backlog is full;
    /// [`SetupError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn connect(path: &Path, cancel: &Cancel) -> Result<Self, SetupError> {
        Self::connect_within(CONNECT, path, cancel)
    }

    pub(super) fn connect_within(patience: Duration, path: &Path, cancel: &Cancel) -> Result<Self, SetupError> {
        let failed = |error: &dyn std::fmt::Display| {
            let message = format!("no process answers at the socket '{}': {error}", path.display());
            let remedy = "Start the other side first: it listens, and the machine connects.";
            SetupError::from(MachineConfigError::new("networks", message, remedy))
        };
        let address = SocketAddrUnix::new(path).map_err(|error| failed(&error))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|error| failed(&error))?;
        let deadline = Instant::now() + patience;
        loop {
            cancel.check()?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Ok(Self::stream(socket)?),
                // The backlog is full, and nothing tells when it no longer is.
                Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(CONNECT_AGAIN),
                Err(Errno::AGAIN) => {
                    let path = path.display();
                    let message = format!(
                        "the process that listens at the socket '{path}' has accepted no connection for {patience:?}, \
                         and its backlog is full"
                    );
                    let remedy = "Look whether that process still runs and accepts connections.";
                    return Err(MachineConfigError::new("networks", message, remedy).into());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    /// User-mode networking: a process of its own, passt, which ends with this. It may refuse its options later:
    /// `Backend::wait_until_started`.
    ///
    /// # Errors
    /// When there is no passt.
    pub fn passt(options: &super::passt::Options) -> Result<Self, MachineConfigError> {
        let (passt, socket) = Passt::start(options)?;
        Self::over(socket, Some(passt))
    }

    fn over(socket: OwnedFd, passt: Option<Passt>) -> Result<Self, MachineConfigError> {
        let stream = Stream::new(socket).map_err(|error| {
            let message = format!("a network's socket cannot be used: {error}");
            MachineConfigError::new("networks", message, "Give a connected stream socket.")
        })?;
        Ok(Self(Kind::Stream { stream, passt }))
    }

    /// Waits until the process behind user-mode networking has started; `mac` is the guest's address. Only before the guest uses it.
    ///
    /// # Errors
    /// See [`Passt::wait_until_started`].
    pub(super) fn wait_until_started(&mut self, mac: [u8; 6], cancel: &Cancel) -> Result<(), SetupError> {
        match &mut self.0 {
            Kind::Stream { stream, passt: Some(passt) } => passt.wait_until_started(stream, mac, cancel),
            Kind::Stream { passt: None, .. } | Kind::Tap(_) => Ok(()),
        }
    }

    /// Whether frames may be unfinished: larger than the network's, or without a checksum.
    pub(super) const fn offloads(&self) -> bool {
        matches!(self.0, Kind::Tap(_))
    }

    /// What the guest takes unfinished.
    pub(super) fn set_offload(&self, offload: TapOffload) {
        if let Kind::Tap(tap) = &self.0 {
            // A kernel that does not know one of them finishes frames itself.
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
                // The interface is gone, or down for good.
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

    /// Writes a frame, header first. A network may lose frames, and this one does where the back end has no room.
    pub(super) fn send(&mut self, frame: &[u8]) {
        match &mut self.0 {
            Kind::Tap(tap) => drop::<io::Result<usize>>(tap.write(frame)),
            Kind::Stream { stream, .. } => stream.send(frame.get(HEADER..).unwrap_or_default()),
        }
    }

    /// Whether it has room for a frame; when not, wait until it is writable, and [`Backend::flush`].
    pub(super) fn has_room(&self) -> bool {
        match &self.0 {
            Kind::Tap(_) => true,
            Kind::Stream { stream, .. } => stream.has_room(),
        }
    }

    /// Goes on with what did not fit.
    pub(super) fn flush(&mut self) {
        if let Kind::Stream { stream, .. } = &mut self.0 {
            stream.flush();
        }
    }

    /// What to poll for frames, and until it can be written to.
    pub(super) fn source(&self, frames: bool, writable: bool) -> PollFd<'_> {
        let flags = [(frames, PollFlags::IN), (writable, PollFlags::OUT)];
        let flags = flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag).collect();
        match &self.0 {
            Kind::Tap(tap) => PollFd::new(tap, flags),
            Kind::Stream { stream, .. } => PollFd::new(stream.socket(), flags),
        }
    }
}
