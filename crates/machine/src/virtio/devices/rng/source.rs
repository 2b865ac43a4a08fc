//! Where random bytes come from. Reading never blocks.

use crate::MachineConfigError;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
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
            // With a writer of our own a FIFO never ends. Without the permission to write, its end is found by reading.
            FileType::Fifo => match nonblocking(path, OFlags::RDWR) {
                Err(Errno::ACCESS | Errno::ROFS) => nonblocking(path, OFlags::RDONLY),
                other => other,
            }
            .map_err(cannot)?,
            _ => nonblocking(path, OFlags::RDONLY).map_err(cannot)?,
        };
        // The path may name something else by now.
        Self::from_fd(source)
            .map_err(cannot)?
            .ok_or_else(|| refuse(&"is neither a regular file, a character device, a FIFO nor a socket"))
    }

    /// A source that is open in non-blocking mode; `None` for a file of another type.
    pub(super) fn from_fd(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        let known = [FileType::RegularFile, FileType::CharacterDevice, FileType::Fifo, FileType::Socket];
        Ok(known.contains(&kind).then(|| Self { fd, fifo: kind == FileType::Fifo }))
    }

    /// Reads what there is.
    ///
    /// # Errors
    /// The kernel's, and `UnexpectedEof` at the end: of a regular file, or of a socket whose other end is closed.
    pub fn read(&mut self, bytes: &mut [u8]) -> io::Result<Got> {
        match retry_on_intr(|| read(&self.fd, &mut *bytes)) {
            Ok(0) if self.fifo => {
                // poll(2) reports that the last writer has left until another one comes, but to a description that is opened after that
                // only when there are bytes. So nothing is polled while there is no writer.
                let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
                if let Ok(fd) = nonblocking(Path::new(&path), OFlags::RDONLY) {
                    self.fd = fd;
                }
                Ok(Got::Nothing)
            }
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
