//! The output of a serial port. It never loses a byte while its reader exists, never spins, and never delays a pause of
//! the machine.
//!
//! A vCPU thread that finds no room waits for the reader. Two things end the wait: room, and an interruption. The
//! latter is a level that [`OutputInterrupt`] holds, so it cannot be missed. Any signal also interrupts the wait,
//! because a signal kicks a vCPU. Bytes that were not written by then are kept and written first with the next byte.
//!
//! When the reader is gone, the guest continues and its output is dropped from then on. Output that the host cannot write
//! for another reason, such as a full disk, is dropped, and later output is tried again. Both are counted and reported.
//! Sockets raise no SIGPIPE; for pipes the process must ignore SIGPIPE, as Node and Rust programs do.

use crate::lost_output::{LostOutput, Place, is_closed};
use crate::{MachineConfigError, host_file};
use kvm_accel::EventSink;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// When `poll` reports a pipe as writable, the pipe takes this many bytes at once (PIPE_BUF).
const CHUNK: usize = 4096;

/// The delay before the next attempt after `poll` reported an output as writable but it took nothing: a millisecond.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// The destination of a serial port's output.
#[derive(Debug)]
pub struct SerialOutput {
    sink: Sink,
    pending: Vec<u8>,
    interrupt: Option<Arc<OutputInterrupt>>,
    lost: LostOutput,
}

#[derive(Debug)]
enum Sink {
    /// Drops everything, because the user asked for that or the reader is gone.
    Null,
    /// A regular file, which always has room.
    File(OwnedFd),
    /// A pipe or terminal in non-blocking mode. If the host did not let this process reopen it, it keeps the mode that
    /// other processes share, and a write may block; the kick of a vCPU interrupts such a write.
    Stream(OwnedFd),
    Socket(OwnedFd),
}

/// Whether an attempt to write everything waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Waits until there is room, or an interruption.
    ForRoom,
    Never,
}

impl SerialOutput {
    /// Creates an output that drops everything.
    #[must_use]
    pub const fn null() -> Self {
        Self { sink: Sink::Null, pending: Vec::new(), interrupt: None, lost: LostOutput::new(Place::Caller) }
    }

    /// Creates an output to a file that a user names: a regular file, which is created or truncated, a FIFO that a
    /// process reads, or a terminal. Never waits; a vCPU that later finds the FIFO full waits for its reader.
    ///
    /// # Errors
    /// Fails if the path cannot be opened or leads to another type of file.
    pub fn create(path: &Path) -> Result<Self, MachineConfigError> {
        let file = host_file::create(path).map_err(|refusal| refusal.of("serial", "serial file", path))?;
        Self::to(file, Place::Named(format!("'{}'", path.display())))
    }

    /// Creates an output that the caller reads from the returned pipe. Reads of the pipe do not block.
    ///
    /// # Errors
    /// Fails if the kernel has no descriptor left.
    pub fn stream() -> Result<(OwnedFd, Self), MachineConfigError> {
        // A pipe holds 64 KiB even in writes of a single byte. A socket holds only some hundred such writes.
        let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|errno| refuse(&errno.into()))?;
        Ok((pipe.0, Self::to(pipe.1.into(), Place::Caller)?))
    }

    /// Creates an output to a file, pipe or terminal, from the file's current position on. A pipe or a terminal is
    /// reopened, so that the mode of the given file stays unchanged.
    ///
    /// # Errors
    /// Fails if the kernel has no descriptor left.
    pub fn file(file: File) -> Result<Self, MachineConfigError> {
        Self::to(file, Place::Named("a file".into()))
    }

    fn to(file: File, place: Place) -> Result<Self, MachineConfigError> {
        let regular = file.metadata().map_err(|error| refuse(&error))?.is_file();
        let sink = if regular { Sink::File(file.into()) } else { Sink::Stream(host_file::nonblocking(file).into()) };
        Self::new(sink, place)
    }

    /// Creates an output to a stream socket.
    ///
    /// # Errors
    /// Fails if the kernel has no descriptor left.
    pub fn socket(socket: UnixStream) -> Result<Self, MachineConfigError> {
        Self::new(Sink::Socket(socket.into()), Place::Named("a socket".into()))
    }

    /// Creates an output to a duplicate of this process's standard output.
    ///
    /// # Errors
    /// Fails if standard output is closed, or the kernel has no descriptor left.
    pub fn stdout() -> Result<Self, MachineConfigError> {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(|error| refuse(&error))?;
        Self::to(stdout.into(), Place::Stdout)
    }

    fn new(sink: Sink, place: Place) -> Result<Self, MachineConfigError> {
        let interrupt = OutputInterrupt::new().map_err(|errno| refuse(&errno.into()))?;
        let lost = LostOutput::new(place);
        Ok(Self { sink, pending: Vec::new(), interrupt: Some(Arc::new(interrupt)), lost })
    }

    /// Reports lost output to `sink`, as output of `port`.
    pub fn report_losses(&mut self, port: impl Into<String>, sink: &Arc<dyn EventSink>) {
        self.lost.report_to(port.into(), Arc::clone(sink));
    }

    /// Returns the handle that ends waits; `None` if output never waits.
    pub(super) fn interrupt(&self) -> Option<Arc<OutputInterrupt>> {
        self.interrupt.clone()
    }

    /// Writes the pending bytes, then `bytes`. Waits for room until an interruption.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if matches!(self.sink, Sink::Null) {
            return self.lost.note_more(bytes.len());
        }
        self.pending.extend_from_slice(bytes);
        self.drain(Wait::ForRoom);
        if matches!(self.sink, Sink::Stream(_) | Sink::Socket(_)) {
            // The kernel assumes that the writer of a pipe is about to sleep, and wakes the reader on the writer's CPU.
            // A vCPU does not sleep: without this yield, the reader waits behind the guest for a tick (milliseconds).
            std::thread::yield_now();
        }
    }

    /// Writes as much as there is room for now. Returns true if nothing is pending any more.
    pub(super) fn flush_pending(&mut self) -> bool {
        self.drain(Wait::Never);
        self.pending.is_empty()
    }

    /// Writes as much as there is room for now, and reports lost output that no report includes yet.
    pub(super) fn finish(&mut self) {
        self.flush_pending();
        self.lost.finish();
    }

    fn drain(&mut self, wait: Wait) {
        while !self.pending.is_empty() {
            match self.write_some(wait) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR | Errno::AGAIN) => return,
                Err(error) => {
                    self.lost.note(std::mem::take(&mut self.pending).len(), error);
                    if is_closed(error) {
                        self.sink = Sink::Null;
                    }
                }
            }
        }
    }

    /// Writes once. `Ok(0)` means that the caller has to retry. INTR: interrupted while waiting. AGAIN: no room, and
    /// `wait` is never.
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
            // Another process took the room first, or a terminal has room for only half of a line break: retry.
            Err(Errno::AGAIN) if wait == Wait::ForRoom => self.pause().map(|()| 0),
            result => result,
        }
    }

    /// Waits for [`PAUSE`] or until an interruption, even if there is room.
    #[expect(clippy::disallowed_methods, reason = "a vCPU waits here, for one write")]
    fn pause(&self) -> Result<(), Errno> {
        let Some(interrupt) = &self.interrupt else { return Ok(()) };
        let mut fds = [PollFd::from_borrowed_fd(interrupt.0.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&PAUSE))? == 0 { Ok(()) } else { Err(Errno::INTR) }
    }

    #[expect(clippy::disallowed_methods, reason = "a vCPU waits here, for one write")]
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
            return Ok(()); // Room, or an error that the write will return.
        }
        Err(if fds[1].revents().is_empty() { Errno::AGAIN } else { Errno::INTR })
    }
}

/// Treats a write that takes nothing and reports no error as a closed reader, because it would be retried for ever.
fn taken(written: Result<usize, Errno>) -> Result<usize, Errno> {
    if written == Ok(0) { Err(Errno::PIPE) } else { written }
}

fn refuse(error: &std::io::Error) -> MachineConfigError {
    let message = format!("the serial port's output cannot be set up: {error}");
    MachineConfigError::new("serial", message, "Raise the limit on open files (ulimit -n), or use serial 'null'.")
}

/// A level-triggered flag. While it is set, no output waits for its reader.
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
