//! Where a network's frames go to.

use super::passt::Passt;
use super::stream::Stream;
use crate::MachineConfigError;
use kvm_accel::tap::{TapOffload, open_tap, set_tap_offload};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

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
        _passt: Option<Passt>,
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

    /// User-mode networking: a process of its own, passt, which ends with this.
    ///
    /// # Errors
    /// When there is no passt, or it does not start.
    pub fn passt(options: &super::passt::Options) -> Result<Self, MachineConfigError> {
        let (passt, socket) = Passt::start(options)?;
        Self::over(socket, Some(passt))
    }

    fn over(socket: OwnedFd, passt: Option<Passt>) -> Result<Self, MachineConfigError> {
        let stream = Stream::new(socket).map_err(|error| {
            let message = format!("a network's socket cannot be used: {error}");
            MachineConfigError::new("networks", message, "Give a connected stream socket.")
        })?;
        Ok(Self(Kind::Stream { stream, _passt: passt }))
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
