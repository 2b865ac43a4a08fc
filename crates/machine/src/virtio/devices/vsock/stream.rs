//! One stream with both of its ends.

use super::connection::{Connection, Message};
use super::host::{Got, HostEnd};
use super::key::Key;
use super::ports::Done;
use std::io::{self, Read};

/// A connection and its socket.
pub struct Stream {
    pub connection: Connection,
    /// `None` once the host's end is no longer needed.
    pub host: Option<HostEnd>,
    /// The requester of the connection, until the guest has accepted.
    pub opening: Option<Opening>,
    /// The stream is in the list of turns.
    pub queued: bool,
}

/// The requester of a connection to the guest.
pub enum Opening {
    /// A program of the host, which connected to the path.
    Path,
    /// This process.
    Process(Done),
}

impl Stream {
    pub fn new(connection: Connection, host: HostEnd, opening: Option<Opening>) -> Self {
        Self { connection, host: Some(host), opening, queued: false }
    }

    /// Returns the next packet for the guest.
    pub fn next(&self) -> Option<Message> {
        self.connection.next(self.host.as_ref().is_some_and(HostEnd::is_readable))
    }

    /// Notifies the requester that the guest has accepted, before any data of the guest.
    pub fn opened(&mut self, key: Key) {
        match self.opening.take() {
            Some(Opening::Process(done)) => done(Ok(key.host)),
            Some(Opening::Path) => {
                let answer = format!("OK {}\n", key.host);
                // This is the first write to the socket, so it has room.
                if self.host.as_mut().map(|host| host.write(answer.as_bytes())) != Some(answer.len()) {
                    self.host = None;
                    self.connection.host_failed();
                }
            }
            None => {}
        }
    }

    /// Closes the directions of the host's end that the guest has closed.
    pub fn ended(&mut self) {
        if let Some(host) = &mut self.host {
            if !self.connection.guest_sends() {
                host.finish();
            }
            if !self.connection.guest_receives() {
                host.stop_reading();
            }
        }
    }

    /// Passes the payload of a guest's packet to the host's end, or drops it if there is no host's end.
    pub fn take(&mut self, len: u32, body: &mut impl Read, buffer: &mut [u8]) -> io::Result<()> {
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        while left > 0 {
            let most = left.min(buffer.len());
            let part = &mut buffer[..most];
            body.read_exact(part)?;
            let taken = self.host.as_mut().map_or(most, |host| host.write(part));
            self.connection.forwarded(bytes(taken));
            left -= most;
        }
        Ok(())
    }

    /// Writes kept data after the host's end has room again.
    pub fn flush(&mut self) {
        let flushed = self.host.as_mut().map_or(0, HostEnd::flush);
        self.connection.forwarded(bytes(flushed));
    }

    /// Returns the next packet for the guest, with at most `room` bytes of data, which it reads into the start of `buffer`.
    pub fn next_packet(&mut self, room: usize, buffer: &mut [u8]) -> Option<(Message, u32)> {
        let message = self.next()?;
        let Message::Data(credit) = message else { return Some((message, 0)) };
        let most = room.min(usize::try_from(credit).unwrap_or(usize::MAX)).min(buffer.len());
        match self.host.as_mut()?.read(&mut buffer[..most]) {
            Got::Bytes(read) => return Some((message, bytes(read))),
            Got::Nothing => {}
            Got::End => self.connection.host_ended(),
            Got::Broken => {
                self.host = None;
                self.connection.host_failed();
            }
        }
        None
    }

    /// Drops the host's end when no data can pass in either direction.
    pub fn settle(&mut self) {
        if self.host.as_ref().is_some_and(HostEnd::is_finished) {
            self.connection.host_stopped_receiving();
            if !self.connection.host_data_reaches_guest() {
                self.host = None;
                self.connection.host_gone();
            }
        }
    }
}

/// Converts a length that a credit or a buffer bounds.
fn bytes(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
