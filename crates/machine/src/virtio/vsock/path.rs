//! The sockets by which programs of the host reach a guest and are reached: PATH to connect to it, PATH_PORT for what it connects to.

use crate::MachineConfigError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket at a path, removed with this value.
pub struct HostPath {
    path: PathBuf,
    listener: OwnedFd,
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostPath").field(&self.path).finish()
    }
}

impl HostPath {
    /// Listens at a path where nothing is yet.
    pub fn new(path: &Path) -> Result<Self, MachineConfigError> {
        let refuse = |why: &dyn fmt::Display, remedy| {
            MachineConfigError::new("vsock", format!("{} cannot be listened to: {why}", path.display()), remedy)
        };
        let address = SocketAddrUnix::new(path).and_then(|address| {
            // The longest that will be connected to.
            SocketAddrUnix::new(of_port(path, u32::MAX)).map(|_| address)
        });
        let address = address.map_err(|error| refuse(&error, "Take a path of at most 97 bytes without NUL."))?;
        let listener = stream().map_err(|error| refuse(&error, "Raise the limit on open files (ulimit -n)."))?;
        bind(&listener, &address).map_err(|error| {
            refuse(&error, "Take a path in a folder that may be written to; remove a socket that was left behind.")
        })?;
        let this = Self { path: path.into(), listener };
        listen(&this.listener, BACKLOG).map_err(|error| refuse(&error, "Take another path."))?;
        Ok(this)
    }

    /// Readable when there is something to accept.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The next program that connects.
    pub fn accept(&self) -> Option<OwnedFd> {
        accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }

    /// Connects to whoever listens for a port, without waiting for room in his backlog.
    pub fn connect(&self, port: u32) -> rustix::io::Result<OwnedFd> {
        let socket = stream()?;
        connect(&socket, &SocketAddrUnix::new(of_port(&self.path, port))?)?;
        Ok(socket)
    }
}

impl Drop for HostPath {
    fn drop(&mut self) {
        // An error: somebody else has removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn stream() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn of_port(path: &Path, port: u32) -> OsString {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("_{port}"));
    name
}
