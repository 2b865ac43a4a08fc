//! The host's end of a port: input from a socket, output to the same socket or to a file. It never blocks.

use crate::lost_output::{LostOutput, Place, is_closed};
use crate::{MachineConfigError, host_file};
use kvm_accel::EventSink;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that a pipe takes without blocking once it is writable (PIPE_BUF).
const PIPE: usize = 4096;
/// How long to wait if poll(2) reports an output writable, but it takes no bytes.
const PAUSE: Duration = Duration::from_millis(1);

/// The host's end of a port.
#[derive(Debug)]
pub struct HostEnd {
    socket: UnixStream,
    output: Output,
    input_ended: bool,
    lost: LostOutput,
}

#[derive(Debug)]
enum Output {
    /// The socket of the input.
    Stream,
    /// A file, a pipe or a terminal.
    File(File),
    /// Output is discarded, because there is no reader.
    Null,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Bytes(usize),
    /// There is no input now, or the input has ended.
    Nothing,
}

impl HostEnd {
    /// Creates an end that uses a socket for both directions.
    #[must_use]
    pub const fn stream(socket: UnixStream) -> Self {
        Self::new(socket, Output::Stream, Place::Caller)
    }

    /// Creates an end with input from a socket and output to the file at `path`: a regular file, which is created or truncated, a FIFO that
    /// a process reads, or a terminal.
    ///
    /// # Errors
    /// When the path cannot be opened or is another type of file. Opening never blocks.
    pub fn create(socket: UnixStream, path: &Path) -> Result<Self, MachineConfigError> {
        let file = host_file::create(path).map_err(|refusal| refusal.of("consoles", "console file", path))?;
        let place = Place::Named(format!("'{}'", path.display()));
        Ok(Self::new(socket, Output::File(host_file::nonblocking(file)), place))
    }

    /// Creates an end with input from a socket and output to a duplicate of this process's standard output, see [`HostEnd::file`].
    ///
    /// # Errors
    /// When standard output is closed, or the kernel has no descriptor left.
    pub fn stdout(socket: UnixStream) -> std::io::Result<Self> {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::new(socket, Output::File(host_file::nonblocking(stdout.into())), Place::Stdout))
    }

    /// Creates an end with input from a socket and output to a file. A pipe or a terminal is opened again, so that writes never block and
    /// the mode of the given descriptor stays unchanged. If the host does not permit that, a write can block while another process also
    /// writes.
    #[must_use]
    pub fn file(socket: UnixStream, file: File) -> Self {
        Self::new(socket, Output::File(host_file::nonblocking(file)), Place::Named("a file".into()))
    }

    /// Creates an end with input from a socket, whose output is discarded.
    #[must_use]
    pub const fn null(socket: UnixStream) -> Self {
        Self::new(socket, Output::Null, Place::Caller)
    }

    const fn new(socket: UnixStream, output: Output, place: Place) -> Self {
        Self { socket, output, input_ended: false, lost: LostOutput::new(place) }
    }

    /// Reports lost output to `sink`, as output of `port`.
    pub(super) fn report_losses(&mut self, port: String, sink: &Arc<dyn EventSink>) {
        self.lost.report_to(port, Arc::clone(sink));
    }

    /// Writes output, and returns the number of bytes taken; `None` if there is no room now. Output that is lost counts as taken.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Option<usize> {
        let written = match &self.output {
            Output::Null => {
                self.lost.note_more(bytes.len());
                return Some(bytes.len());
            }
            Output::Stream => retry_on_intr(|| send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)),
            Output::File(file) => has_room(file).and_then(|()| {
                let written = retry_on_intr(|| rustix::io::write(file, bytes.get(..PIPE).unwrap_or(bytes)));
                if written == Err(Errno::AGAIN) {
                    // A terminal with room for half a line break reports that it is writable, but takes nothing.
                    std::thread::sleep(PAUSE);
                }
                written
            }),
        };
        match written {
            Err(Errno::AGAIN) => None,
            Ok(written) if written > 0 => Some(written),
            failed => {
                // Without this, an output that takes 0 bytes would be retried forever.
                let error = failed.err().unwrap_or(Errno::PIPE);
                self.lost.note(bytes.len(), error);
                if is_closed(error) {
                    self.output = Output::Null;
                }
                Some(bytes.len())
            }
        }
    }

    /// Reads available input.
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

    /// Returns the descriptor to poll before a read; `None` when the input has ended.
    pub(super) fn readable(&self) -> Option<PollFd<'_>> {
        (!self.input_ended).then(|| PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN))
    }

    /// Returns the descriptor to poll before a write; `None` if output is discarded.
    pub(super) fn writable(&self) -> Option<PollFd<'_>> {
        let fd = match &self.output {
            Output::Null => return None,
            Output::Stream => self.socket.as_fd(),
            Output::File(file) => file.as_fd(),
        };
        Some(PollFd::from_borrowed_fd(fd, PollFlags::OUT))
    }
}

impl Drop for HostEnd {
    fn drop(&mut self) {
        self.lost.finish();
    }
}

/// Polls a file for room before each write. Its descriptor may be shared with other processes, such as standard output, so it is not set to
/// non-blocking mode.
#[expect(clippy::disallowed_methods, reason = "does not wait")]
fn has_room(file: &File) -> Result<(), Errno> {
    let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
    match retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())))? {
        0 => Err(Errno::AGAIN),
        _ => Ok(()),
    }
}
