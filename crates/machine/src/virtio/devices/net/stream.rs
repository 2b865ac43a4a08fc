//! QEMU's `-netdev stream`: each frame follows its length, 32 bits in big-endian order.

use super::backend::{HEADER, LARGEST, Received};
use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::OwnedFd;

const PREFIX: usize = 4;
/// Size of the largest frame in bytes.
const FRAME: usize = LARGEST - HEADER;

/// A connected socket in non-blocking mode.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    /// Bytes that were read and not consumed, from `start` to `end`: part of a frame, or several frames.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// The rest of a frame that was not written completely.
    output: Vec<u8>,
    written: usize,
    closed: bool,
}

impl Stream {
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        ioctl_fionbio(&socket, true)?;
        let input = vec![0; PREFIX + FRAME].into_boxed_slice();
        Ok(Self { socket, input, start: 0, end: 0, output: Vec::new(), written: 0, closed: false })
    }

    pub const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Returns a frame if a whole one is available. If the peer violates the framing, the stream is closed.
    pub fn receive(&mut self, frame: &mut [u8]) -> Received {
        loop {
            if self.closed {
                return Received::Closed;
            }
            let waiting = self.input.get(self.start..self.end).unwrap_or_default();
            if let Some((prefix, rest)) = waiting.split_first_chunk::<PREFIX>() {
                let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
                let Some(to) = frame.get_mut(..len).filter(|_| len > 0) else {
                    self.closed = true;
                    continue;
                };
                if let Some(from) = rest.get(..len) {
                    to.copy_from_slice(from);
                    self.start += PREFIX + len;
                    return Received::Frame(len);
                }
            }
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            match read(&self.socket, &mut self.input[self.end..]) {
                Ok(0) => self.closed = true,
                Ok(len) => self.end += len,
                Err(Errno::AGAIN | Errno::INTR) => {
                    return Received::Nothing;
                }
                Err(_) => self.closed = true,
            }
        }
    }

    /// True if no data waits to be written.
    pub fn has_room(&self) -> bool {
        self.output.is_empty()
    }

    /// Writes a frame. Call this only while there is room.
    pub fn send(&mut self, frame: &[u8]) {
        let Ok(len) = u32::try_from(frame.len()) else { return };
        if self.closed || frame.is_empty() || !self.output.is_empty() {
            return;
        }
        self.output.extend_from_slice(&len.to_be_bytes());
        self.output.extend_from_slice(frame);
        self.flush();
    }

    /// Writes the data that waits.
    pub fn flush(&mut self) {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(len) => self.written += len,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => {
                    self.closed = true;
                    break;
                }
            }
        }
        self.output.clear();
        self.written = 0;
    }
}
