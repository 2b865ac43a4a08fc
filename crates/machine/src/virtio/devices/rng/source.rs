//! Sources of random bytes. Reading never blocks.

use crate::MachineConfigError;
use crate::error::remedy_of_open;
use crate::host_socket::too_long;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Number of bytes read, at least 1.
    Bytes(usize),
    /// There are no bytes now.
    Nothing,
}

/// An open source.
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    /// True for a FIFO: a read of 0 bytes is not its end, because another writer may open it.
    fifo: bool,
}

impl Source {
    /// Opens a source. Does not wait for a writer or a listener.
    ///
    /// # Errors
    /// When the path cannot be opened, or is a directory or a block device.
    pub fn open(path: &Path) -> Result<Self, MachineConfigError> {
        let refuse = |what: &dyn std::fmt::Display| {
            let message = format!("the source of random bytes {} {what}", path.display());
            MachineConfigError::new("rng", message, "Use another source, such as /dev/urandom.")
        };
        let cannot = |errno: Errno| {
            let error = std::io::Error::from(errno);
            let message = format!("the source of random bytes {} cannot be opened: {error}", path.display());
            MachineConfigError::new("rng", message, remedy_of_open(&error, "Take /dev/urandom."))
        };
        let kind = FileType::from_raw_mode(stat(path).map_err(cannot)?.st_mode);
        let source = match kind {
            FileType::Socket => {
                too_long(path, 0).map_or(Ok(()), |why| Err(refuse(&why)))?;
                connected(path).map_err(cannot)?
            }
            // A FIFO that this process has open for writing, too, never reports its end. Without write permission, `read` handles the end.
            FileType::Fifo => match nonblocking(path, OFlags::RDWR) {
                Err(Errno::ACCESS | Errno::ROFS) => nonblocking(path, OFlags::RDONLY),
                other => other,
            }
            .map_err(cannot)?,
            _ => nonblocking(path, OFlags::RDONLY).map_err(cannot)?,
        };
        // The path may have been replaced between `stat` and `open`, so the type is checked again.
        Self::from_fd(source)
            .map_err(cannot)?
            .ok_or_else(|| refuse(&"is neither a regular file, a character device, a FIFO nor a socket"))
    }

    /// Creates a source from a descriptor in non-blocking mode. Returns `None` for a file of another type.
    pub(super) fn from_fd(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
        let known = [FileType::RegularFile, FileType::CharacterDevice, FileType::Fifo, FileType::Socket];
        Ok(known.contains(&kind).then(|| Self { fd, fifo: kind == FileType::Fifo }))
    }

    /// Reads available bytes.
    ///
    /// # Errors
    /// Errors of the system call, and `UnexpectedEof` at the end of a regular file, or when the peer of a socket has closed.
    pub fn read(&mut self, bytes: &mut [u8]) -> io::Result<Got> {
        match retry_on_intr(|| read(&self.fd, &mut *bytes)) {
            Ok(0) if self.fifo => {
                // After the last writer has closed, poll(2) reports a hang-up until another writer opens the FIFO. A file description that
                // is opened afterwards reports nothing until there are bytes. The FIFO is therefore opened again, so that no hang-up is
                // reported while there is no writer.
                let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
                if let Ok(fd) = nonblocking(Path::new(&path), OFlags::RDONLY) {
                    self.fd = fd;
                }
                Ok(Got::Nothing)
            }
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "end of file")),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(Errno::AGAIN) => Ok(Got::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the descriptor to poll after [`Got::Nothing`].
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
    // If the listener's backlog is full, connecting fails instead of waiting.
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
