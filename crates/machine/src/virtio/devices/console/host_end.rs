//! A port's end at the host: input from a socket, output to the same or elsewhere. It never waits.

use crate::{MachineConfigError, host_file};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes that a pipe takes without waiting when it has room at all (PIPE_BUF).
const PIPE: usize = 4096;
/// How long an output that poll(2) calls writable and that takes nothing is left alone.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a port's bytes come from and go to.
#[derive(Debug)]
pub struct HostEnd {
    socket: UnixStream,
    output: Output,
    input_ended: bool,
}

#[derive(Debug)]
enum Output {
    /// The socket.
    Stream,
    /// A file, a pipe or a terminal.
    File(File),
    /// Nobody reads, or nobody any more.
    Null,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Bytes(usize),
    /// Not now, or never again.
    Nothing,
}

impl HostEnd {
    /// Both directions over a socket.
    #[must_use]
    pub const fn stream(socket: UnixStream) -> Self {
        Self::new(socket, Output::Stream)
    }

    /// Input from a socket; output to a file that a user names: a regular file, which is created or truncated, a FIFO that a process
    /// reads, or a terminal.
    ///
    /// # Errors
    /// When the path cannot be opened or leads to another type of file. It never waits.
    pub fn create(socket: UnixStream, path: &Path) -> Result<Self, MachineConfigError> {
        let file = host_file::create(path).map_err(|refusal| refusal.of("consoles", "console file", path))?;
        Ok(Self::file(socket, file))
    }

    /// Input from a socket; output to a file. A pipe or a terminal is opened once more, so that writing never blocks and the mode of the
    /// given descriptor stays as it is. Where the host does not permit that, a write can block while another process writes, too.
    #[must_use]
    pub fn file(socket: UnixStream, file: File) -> Self {
        Self::new(socket, Output::File(host_file::nonblocking(file)))
    }

    /// Input from a socket; output to nobody.
    #[must_use]
    pub const fn null(socket: UnixStream) -> Self {
        Self::new(socket, Output::Null)
    }

    const fn new(socket: UnixStream, output: Output) -> Self {
        Self { socket, output, input_ended: false }
    }

    /// How many of the bytes were taken; `None` when there is no room now. Of a reader that is gone nothing is heard: it takes everything.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        let written = match &self.output {
            Output::Null => return Some(bytes.len()),
            Output::Stream => retry_on_intr(|| send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)),
            Output::File(file) => has_room(file).and_then(|()| {
                let written = retry_on_intr(|| rustix::io::write(file, bytes.get(..PIPE).unwrap_or(bytes)));
                if written == Err(Errno::AGAIN) {
                    // A terminal with room for half a line break is writable and takes nothing.
                    std::thread::sleep(PAUSE);
                }
                written
            }),
        };
        match written {
            Err(Errno::AGAIN) => None,
            // A write that takes nothing would be tried for ever.
            Err(_) | Ok(0) => {
                self.output = Output::Null;
                Some(bytes.len())
            }
            Ok(written) => Some(written),
        }
    }

    /// Reads what there is.
    pub(super) fn read(&mut self, room: &mut [u8]) -> Input {
        match retry_on_intr(|| recv(&self.socket, &mut *room, RecvFlags::DONTWAIT)) {
            Ok((bytes, _)) if bytes > 0 => Input::Bytes(bytes),
            Err(Errno::AGAIN) => Input::Nothing,
            Ok(_) | Err(_) => {
                self.input_ended = true;
                Input::Nothing
            }
        }
    }

    /// What there is to wait for before a read; `None` when no more comes.
    pub(super) fn readable(&self) -> Option<PollFd<'_>> {
        (!self.input_ended).then(|| PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN))
    }

    /// What there is to wait for before a write; `None` when it needs no room.
    pub(super) fn writable(&self) -> Option<PollFd<'_>> {
        let fd = match &self.output {
            Output::Null => return None,
            Output::Stream => self.socket.as_fd(),
            Output::File(file) => file.as_fd(),
        };
        Some(PollFd::from_borrowed_fd(fd, PollFlags::OUT))
    }
}

/// A descriptor that others have, too, such as standard output, keeps its mode: it is asked before each write.
fn has_room(file: &File) -> Result<(), Errno> {
    let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
    match retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))? {
        0 => Err(Errno::AGAIN),
        _ => Ok(()),
    }
}
