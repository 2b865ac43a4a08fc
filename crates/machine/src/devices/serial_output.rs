//! Where a serial port's bytes go: never lost, never spun for, and never in the way of pausing the machine.
//!
//! A vCPU thread that finds no room waits for the reader. Two things end the wait: room, and an interruption. The
//! latter is a level that [`OutputInterrupt`] holds, so it cannot be missed, and in addition any signal, since a vCPU
//! is kicked by one. What was not written by then is kept and goes out first with the next byte.
//!
//! A reader that is gone takes the guest's output with it, not the guest: what follows is dropped. No SIGPIPE is
//! raised for sockets; for pipes it is up to the process to ignore it, as Node and Rust programs do.

use crate::{MachineConfigError, host_file};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// `poll` reporting room promises that a pipe takes this much at once (PIPE_BUF).
const CHUNK: usize = 4096;

/// How long an output that `poll` calls writable and that takes nothing is left alone: a millisecond.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The destination of a serial port's output.
#[derive(Debug)]
pub struct SerialOutput {
    sink: Sink,
    pending: Vec<u8>,
    interrupt: Option<Arc<OutputInterrupt>>,
}

#[derive(Debug)]
enum Sink {
    /// Drops everything: asked for, or the reader is gone.
    Null,
    /// A regular file, which always has room.
    File(OwnedFd),
    /// A pipe or terminal in non-blocking mode. Where the host did not let this process open it once more, it is in the mode of whoever
    /// else has it, and a write may block; the kick of a vCPU interrupts it.
    Stream(OwnedFd),
    Socket(OwnedFd),
}

/// What became of an attempt to write everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Until there is room, or an interruption.
    ForRoom,
    Never,
}

impl SerialOutput {
    /// Output that nobody reads.
    #[must_use]
    pub const fn null() -> Self {
        Self { sink: Sink::Null, pending: Vec::new(), interrupt: None }
    }

    /// Output to a file that a user names: a regular file, which is created or truncated, a FIFO that a process reads, or a terminal.
    /// Never waits; a vCPU that finds the FIFO full waits for its reader.
    ///
    /// # Errors
    /// When the path cannot be opened or leads to another type of file.
    pub fn create(path: &Path) -> Result<Self, MachineConfigError> {
        Self::file(host_file::create(path).map_err(|refusal| refusal.of("serial", "serial file", path))?)
    }

    /// Output to a file, pipe or terminal, appended where the file's position is. A pipe or a terminal is opened once more, so that its
    /// mode stays as it is.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn file(file: File) -> Result<Self, MachineConfigError> {
        let regular = file.metadata().map_err(|error| refuse(&error))?.is_file();
        Self::new(if regular { Sink::File(file.into()) } else { Sink::Stream(host_file::nonblocking(file).into()) })
    }

    /// Output to a stream socket.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn socket(socket: UnixStream) -> Result<Self, MachineConfigError> {
        Self::new(Sink::Socket(socket.into()))
    }

    /// Output to a duplicate of this process's standard output.
    ///
    /// # Errors
    /// When standard output is closed or the kernel has no descriptor left.
    pub fn stdout() -> Result<Self, MachineConfigError> {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| refuse(&error))?;
        Self::file(stdout.into())
    }

    fn new(sink: Sink) -> Result<Self, MachineConfigError> {
        let interrupt = OutputInterrupt::new().map_err(|errno| refuse(&errno.into()))?;
        Ok(Self { sink, pending: Vec::new(), interrupt: Some(Arc::new(interrupt)) })
    }

    /// The handle that ends waits; none when output never waits.
    pub(super) fn interrupt(&self) -> Option<Arc<OutputInterrupt>> {
        self.interrupt.clone()
    }

    /// Writes what is pending, then `bytes`; waits for room, but not through an interruption.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if matches!(self.sink, Sink::Null) {
            return;
        }
        self.pending.extend_from_slice(bytes);
        self.drain(Wait::ForRoom);
        if matches!(self.sink, Sink::Stream(_) | Sink::Socket(_)) {
            // The kernel takes the writer of a pipe for one that is about to sleep, and puts the reader it wakes on this CPU. A vCPU
            // does not sleep: without giving way once, the reader waits behind the guest for a tick (milliseconds).
            std::thread::yield_now();
        }
    }

    /// Writes what there is room for now. True when nothing is pending any more.
    pub(super) fn flush_pending(&mut self) -> bool {
        self.drain(Wait::Never);
        self.pending.is_empty()
    }

    fn drain(&mut self, wait: Wait) {
        while !self.pending.is_empty() {
            match self.write_some(wait) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR | Errno::AGAIN) => return,
                Err(_) => {
                    self.pending = Vec::new();
                    self.sink = Sink::Null;
                }
            }
        }
    }

    /// One write; `Ok(0)` says try again. INTR: interrupted while waiting; AGAIN: no room, and `wait` is never.
    fn write_some(&self, wait: Wait) -> Result<usize, Errno> {
        let chunk = &self.pending[..self.pending.len().min(CHUNK)];
        let written = match &self.sink {
            Sink::Null => return Ok(chunk.len()),
            Sink::File(file) => return taken(rustix::io::write(file, chunk)),
            Sink::Stream(stream) => {
                self.wait_for_room(stream.as_fd(), wait)?;
                taken(rustix::io::write(stream, chunk))
            }
            Sink::Socket(socket) => match taken(send(socket, chunk, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
                Err(Errno::AGAIN) => self.wait_for_room(socket.as_fd(), wait).map(|()| 0),
                result => result,
            },
        };
        match written {
            // Another process was faster to use the room, or a terminal has room for half a line break: look again.
            Err(Errno::AGAIN) if wait == Wait::ForRoom => self.pause().map(|()| 0),
            result => result,
        }
    }

    /// Waits a moment for an interruption, whatever room there is.
    fn pause(&self) -> Result<(), Errno> {
        let Some(interrupt) = &self.interrupt else { return Ok(()) };
        let mut fds = [PollFd::from_borrowed_fd(interrupt.0.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&PAUSE))? == 0 { Ok(()) } else { Err(Errno::INTR) }
    }

    fn wait_for_room(&self, fd: BorrowedFd<'_>, wait: Wait) -> Result<(), Errno> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = match wait {
            Wait::ForRoom => None,
            Wait::Never => Some(&now),
        };
        let Some(interrupt) = &self.interrupt else { return Ok(()) };
        let mut fds = [
            PollFd::from_borrowed_fd(fd, PollFlags::OUT),
            PollFd::from_borrowed_fd(interrupt.0.as_fd(), PollFlags::IN),
        ];
        poll(&mut fds, timeout)?;
        if !fds[0].revents().is_empty() {
            return Ok(()); // Room, or an error that the write will name.
        }
        Err(if fds[1].revents().is_empty() { Errno::AGAIN } else { Errno::INTR })
    }
}

/// A write that takes nothing and gives no reason would be tried for ever: it counts as a reader that is gone.
fn taken(written: Result<usize, Errno>) -> Result<usize, Errno> {
    if written == Ok(0) { Err(Errno::PIPE) } else { written }
}

fn refuse(error: &std::io::Error) -> MachineConfigError {
    let message = format!("the serial port's output cannot be set up: {error}");
    MachineConfigError::new("serial", message, "Raise the limit on open files (ulimit -n), or use serial 'null'.")
}

/// A level: while it is set, no output waits for its reader.
#[derive(Debug)]
pub(super) struct OutputInterrupt(OwnedFd);

impl OutputInterrupt {
    fn new() -> rustix::io::Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    pub(super) fn set(&self) {
        // Fails only when the counter is full, and then the level is set already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // Fails only when the level is not set.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}
