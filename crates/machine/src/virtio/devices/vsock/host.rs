//! The host's end of a stream: a socket that is never waited for, and what it has not taken yet.

use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use std::collections::VecDeque;

/// What there was to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// Nothing any more.
    End,
    /// Nothing any more, and what the guest has sent was not read: the stream is broken.
    Broken,
}

/// A non-blocking stream socket, watched for edges.
#[derive(Debug)]
pub struct HostEnd {
    socket: OwnedFd,
    /// Bytes of the guest's that did not fit; whose credit bounds them.
    unsent: VecDeque<u8>,
    /// There may be something to read.
    readable: bool,
    /// Its peer has ended one or both directions: reading finds the end before there is nothing.
    ended: bool,
    /// There may be room to write.
    writable: bool,
    writes: Writes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    /// More may come.
    Open,
    /// Ends when everything is written.
    Ending,
    /// Has ended, or nobody reads.
    Ended,
}

impl HostEnd {
    /// A socket that is non-blocking.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, unsent: VecDeque::new(), readable: true, ended: false, writable: true, writes: Writes::Open }
    }

    /// The socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What an edge says.
    pub fn edge(&mut self, flags: EventFlags) {
        let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        self.ended |= over;
        self.readable |= over || flags.contains(EventFlags::IN);
        self.writable |= flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        if flags.contains(EventFlags::HUP) {
            self.deaf();
        }
    }

    /// Whether there may be something to read.
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
                    // Less than asked for: the next edge tells of more, unless it was the last one.
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

    /// Writes, and keeps what does not fit: says how many bytes are out of the way, those included that nobody will read.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let written = if self.unsent.is_empty() { self.write_now(bytes) } else { 0 };
        self.unsent.extend(&bytes[written..]);
        written
    }

    /// Writes what was kept, as far as it fits: says how many bytes are out of the way.
    pub fn flush(&mut self) -> usize {
        // Not kept when it is empty: most streams never wait.
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

    /// No more will be written: the peer finds the end when it has read everything.
    pub fn finish(&mut self) {
        if self.writes == Writes::Open {
            self.writes = Writes::Ending;
            if self.unsent.is_empty() {
                self.end_writes();
            }
        }
    }

    /// No more will be read: the peer cannot write.
    pub fn stop_reading(&mut self) {
        // An error: there is no peer any more.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// Whether nothing more will be written.
    pub fn is_finished(&self) -> bool {
        self.writes == Writes::Ended
    }

    fn end_writes(&mut self) {
        self.writes = Writes::Ended;
        // An error: there is no peer any more.
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
                Err(_) => self.deaf(),
            }
        }
        written
    }

    fn deaf(&mut self) {
        self.writes = Writes::Ended;
    }
}
