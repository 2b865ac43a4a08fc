//! Where random bytes come from. Reading never blocks.

use crate::MachineConfigError;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes, at least 1.
    Bytes(usize),
    /// Nothing at the moment.
    Nothing,
}

/// An open source.
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    /// A FIFO that is empty gets a writer at any time: it does not end.
    fifo: bool,
}

impl Source {
    /// Opens a source. Does not wait for a writer or a listener.
    ///
    /// # Errors
    /// A path that cannot be opened, or that is a directory or a block device.
    pub fn open(path: &Path) -> Result<Self, MachineConfigError> {
        let refuse = |what: &dyn std::fmt::Display| {
            let message = format!("the source of random bytes {} {what}", path.display());
            MachineConfigError::new("rng", message, "Take /dev/urandom.")
        };
        let cannot = |error: Errno| refuse(&format_args!("cannot be opened: {error}"));
        let kind = FileType::from_raw_mode(stat(path).map_err(cannot)?.st_mode);
        let source = match kind {
            FileType::Socket => connected(path).map_err(cannot)?,
            // With a writer of our own poll(2) reports bytes alone, and not that the last writer has left.
            FileType::Fifo => match nonblocking(path, OFlags::RDWR) {
                Err(Errno::ACCESS | Errno::ROFS) => nonblocking(path, OFlags::RDONLY),
                other => other,
            }
            .map_err(cannot)?,
            _ => nonblocking(path, OFlags::RDONLY).map_err(cannot)?,
        };
        // The path may name something else by now.
        let opened = FileType::from_raw_mode(fstat(&source).map_err(cannot)?.st_mode);
        match opened {
            FileType::RegularFile | FileType::CharacterDevice | FileType::Fifo | FileType::Socket => {
                Ok(Self { fd: source, fifo: opened == FileType::Fifo })
            }
            _ => Err(refuse(&"is neither a regular file, a character device, a FIFO nor a socket")),
        }
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// The kernel's, and `UnexpectedEof` at the end: of a regular file, or of a socket whose other end is closed.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<Got> {
        match retry_on_intr(|| read(&self.fd, &mut *bytes)) {
            Ok(0) if self.fifo => Ok(Got::Nothing),
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended")),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(Errno::AGAIN) => Ok(Got::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// What to wait for after [`Got::Nothing`].
    pub fn readable(&self) -> PollFd<'_> {
        PollFd::new(&self.fd, PollFlags::IN)
    }
}

fn nonblocking(path: &Path, access: OFlags) -> Result<OwnedFd, Errno> {
    open(path, access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

fn connected(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A listener whose backlog is full is an error, not a wait.
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
