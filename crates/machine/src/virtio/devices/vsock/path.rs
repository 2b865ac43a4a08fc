//! The Unix sockets of the host: programs connect to the guest through PATH, and the guest connects to programs that listen on PATH_PORT.

use crate::host_socket::{HostSocket, stream, too_long};
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::net::{SocketAddrUnix, SocketFlags, accept_with, connect};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The backlog of the listening socket.
const BACKLOG: i32 = 128;

/// A listening socket at a path. Dropping this removes the path.
pub struct HostPath {
    path: PathBuf,
    socket: HostSocket,
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostPath").field(&self.path).finish()
    }
}

impl HostPath {
    /// Listens on a path that does not exist, or that is the socket of a process that has ended.
    ///
    /// # Errors
    /// See [`HostSocket::listen`].
    pub fn new(path: &Path, cancel: &Cancel) -> Result<Self, SetupError> {
        let refuse = |why: &dyn fmt::Display, remedy| {
            MachineConfigError::new("vsock", format!("cannot use vsock path '{}': it {why}", path.display()), remedy)
        };
        // Checks the length of the longest path to which the device may connect.
        let suffix = of_port(Path::new(""), u32::MAX).len();
        if let Some(why) = too_long(path, suffix) {
            return Err(refuse(&why, "Use a shorter path, for example a relative one.").into());
        }
        let socket = HostSocket::listen(path, BACKLOG, cancel, |error| refuse(&error.why, error.remedy))?;
        Ok(Self { path: path.into(), socket })
    }

    /// Returns the listening socket, which is readable when there is a connection to accept.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.socket.listener()
    }

    /// Accepts the next program that connects.
    pub fn accept(&self) -> Option<OwnedFd> {
        accept_with(self.socket.listener(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }

    /// Connects to the program that listens for a port. Fails instead of waiting if its backlog is full.
    pub fn connect(&self, port: u32) -> rustix::io::Result<OwnedFd> {
        let socket = stream()?;
        connect(&socket, &SocketAddrUnix::new(of_port(&self.path, port))?)?;
        Ok(socket)
    }
}

fn of_port(path: &Path, port: u32) -> OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    name
}
