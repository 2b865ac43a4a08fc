//! One stream with both its ends.

use super::connection::{Connection, Message};
use super::host::{Got, HostEnd};
use super::key::Key;
use super::ports::Done;
use std::io::{self, Read};

/// A connection and its socket.
pub struct Stream {
    pub connection: Connection,
    /// `None` when it has nothing more to say or to hear.
    pub host: Option<HostEnd>,
    /// Who hears that the guest has accepted.
    pub opening: Option<Opening>,
    /// It is among those whose turn comes.
    pub queued: bool,
}

/// Who wants a connection to the guest.
pub enum Opening {
    /// A program of the host, by the path.
    Path,
    /// This process.
    Process(Done),
}

impl Stream {
    pub fn new(connection: Connection, host: HostEnd, opening: Option<Opening>) -> Self {
        Self { connection, host: Some(host), opening, queued: false }
    }

    /// What the guest is to be told.
    pub fn next(&self) -> Option<Message> {
        self.connection.next(self.host.as_ref().is_some_and(HostEnd::is_readable))
    }

    /// The guest has accepted: whoever asked hears of it before any data.
    pub fn opened(&mut self, key: Key) {
        match self.opening.take() {
            Some(Opening::Process(done)) => done(Ok(key.host)),
            Some(Opening::Path) => {
                let answer = format!("OK {}\n", key.host);
                // A socket to which nothing was written has room.
                if self.host.as_mut().map(|host| host.write(answer.as_bytes())) != Some(answer.len()) {
                    self.host = None;
                    self.connection.host_failed();
                }
            }
            None => {}
        }
    }

    /// The guest has ended a direction, or both.
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

    /// Data of the guest, for the host side or, when that is gone, for nobody.
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

    /// The host's end has room again.
    pub fn flush(&mut self) {
        let flushed = self.host.as_mut().map_or(0, HostEnd::flush);
        self.connection.forwarded(bytes(flushed));
    }

    /// What to tell the guest in this stream's turn: with at most `room` bytes of data, which are then in front of the buffer.
    pub fn say(&mut self, room: usize, buffer: &mut [u8]) -> Option<(Message, u32)> {
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

    /// Lets go of the host's end when it has nothing more to say or to hear.
    pub fn settle(&mut self) {
        if self.host.as_ref().is_some_and(HostEnd::is_finished) {
            self.connection.host_deaf();
            if !self.connection.host_is_heard() {
                self.host = None;
                self.connection.host_gone();
            }
        }
    }
}

/// A number of bytes that is bounded by a credit or a buffer.
fn bytes(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
