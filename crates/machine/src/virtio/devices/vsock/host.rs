//! The host's end of a stream: a socket that never blocks, and the data that it has not taken yet.

use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::collections::VecDeque;

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// Number of bytes read.
    Bytes(usize),
    /// There is no data now.
    Nothing,
    /// The end of the stream.
    End,
    /// The stream failed: its peer has closed it without reading all of the guest's data.
    Broken,
}

/// A non-blocking stream socket, polled edge-triggered.
#[derive(Debug)]
pub struct HostEnd {
    socket: OwnedFd,
    /// Bytes of the guest that did not fit the socket. The stream's credit bounds their number.
    unsent: VecDeque<u8>,
    /// The socket may have data to read.
    readable: bool,
    /// The peer has closed one or both directions. The socket then stays readable until a read has returned the end.
    ended: bool,
    /// The socket may have room for a write.
    writable: bool,
    writes: Writes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// More data may follow.
    Open,
    /// The direction is shut down when all data has been written.
    Ending,
    /// The direction is shut down, or the peer has closed it.
    Ended,
}

impl HostEnd {
    /// Creates the host's end from a socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, unsent: VecDeque::new(), readable: true, ended: false, writable: true, writes: Writes::Open }
    }

    /// Returns the socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Updates the state from an epoll event.
    pub fn edge(&mut self, flags: EventFlags) {
        let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.ended |= over;
        self.readable |= over || flags.contains(EventFlags::IN);
        self.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::HUP) {
            self.stop_writing();
        }
    }

    /// True if the socket may have data to read.
    pub const fn is_readable(&self) -> bool {
        self.readable
    }

    /// Reads at most `buffer.len()` bytes.
    pub fn read(&mut self, buffer: &mut [u8]) -> Got {
        loop {
            return match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.readable = false;
                    Got::End
                }
                Ok((read, _)) => {
                    // After a short read, the next edge reports more data, unless the last edge has passed.
                    self.readable = read == buffer.len() || self.ended;
                    Got::Bytes(read)
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    Got::Nothing
                }
                Err(_) => {
                    self.readable = false;
                    Got::Broken
                }
            };
        }
    }

    /// Writes data, and keeps what does not fit. Returns the number of bytes that were written, or dropped because the peer no longer reads.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let written = if self.unsent.is_empty() { self.write_now(bytes) } else { 0 };
        self.unsent.extend(&bytes[written..]);
        written
    }

    /// Writes kept data as far as it fits. Returns the number of bytes that were written, or dropped because the peer no longer reads.
    pub fn flush(&mut self) -> usize {
        // An empty buffer is freed: most streams never have unsent data.
        let mut unsent = std::mem::take(&mut self.unsent);
        let before = unsent.len();
        loop {
            let written = self.write_now(unsent.as_slices().0);
            if written == 0 {
                break;
            }
            unsent.drain(..written);
        }
        let left = unsent.len();
        if left > 0 {
            self.unsent = unsent;
        } else if self.writes == Writes::Ending {
            self.end_writes();
        }
        before - left
    }

    /// Closes the writing direction after all data has been written. The peer then reads the end of the stream.
    pub fn finish(&mut self) {
        if self.writes == Writes::Open {
            self.writes = Writes::Ending;
            if self.unsent.is_empty() {
                self.end_writes();
            }
        }
    }

    /// Closes the reading direction: the peer's writes fail.
    pub fn stop_reading(&mut self) {
        // An error means that the peer has gone.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// True once no more data will be written.
    pub fn is_finished(&self) -> bool {
        self.writes == Writes::Ended
    }

    fn end_writes(&mut self) {
        self.writes = Writes::Ended;
        // An error means that the peer has gone.
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            if self.writes == Writes::Ended {
                return bytes.len();
            }
            if !self.writable {
                break;
            }
            match send(&self.socket, &bytes[written..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(len) => written += len,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => self.stop_writing(),
            }
        }
        written
    }

    fn stop_writing(&mut self) {
        self.writes = Writes::Ended;
    }
}
