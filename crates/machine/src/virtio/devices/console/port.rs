//! A port: copies the guest's output to the host's end, and input from the host's end into the guest's buffers.

use super::host_end::{HostEnd, Input};
use crate::virtio::interface::{Chain, StopFlag, VirtQueue, WorkerError};
use std::io::{Read, Write};

/// Bytes that are moved at a time.
const PIECE: usize = 4096;
/// The most pieces in one direction before other ports and the other direction have their turn.
const BATCH: usize = 64;

/// The queues of a port, and the progress of their data.
pub struct Port {
    receive: VirtQueue,
    transmit: VirtQueue,
    /// A chain of the guest that the host's end has not taken completely, and the number of bytes taken.
    sending: Option<(Chain, usize)>,
    /// The host's end has no room for output.
    blocked: bool,
    /// The guest has offered no buffer for input.
    starved: bool,
    /// A program of the guest has the port open. While it is closed, input stays in the socket.
    pub open: bool,
    /// The driver has set up the port.
    pub ready: bool,
}

impl Port {
    pub const fn new(receive: VirtQueue, transmit: VirtQueue, open: bool) -> Self {
        Self { receive, transmit, sending: None, blocked: false, starved: false, open, ready: open }
    }

    /// Copies output of the guest to the host's end. Returns true if there may be more output.
    pub fn output(&mut self, end: &mut HostEnd, stop: &StopFlag) -> Result<bool, WorkerError> {
        self.blocked = false;
        for _ in 0..BATCH {
            if stop.is_set() {
                break;
            }
            let Some((chain, done)) = self.next()? else { return Ok(false) };
            let mut piece = [0; PIECE];
            let len = chain.reader()?.split_at(done)?.read(&mut piece).map_err(WorkerError::driver)?;
            if len == 0 {
                self.transmit.push(chain.head(), 0)?;
                continue;
            }
            let taken = end.write(&piece[..len]);
            self.sending = Some((chain, done + taken.unwrap_or(0)));
            if taken.is_none() {
                self.blocked = true;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn next(&mut self) -> Result<Option<(Chain, usize)>, WorkerError> {
        match self.sending.take() {
            None => Ok(self.transmit.pop()?.map(|chain| (chain, 0))),
            sending => Ok(sending),
        }
    }

    /// Copies input after the guest has offered buffers.
    pub fn fed(&mut self, end: &mut HostEnd, stop: &StopFlag) -> Result<(), WorkerError> {
        self.starved = false;
        self.input(end, stop)
    }

    /// Copies available input to the guest. If input is left on return, the socket stays readable, and the next wait reports it.
    pub fn input(&mut self, end: &mut HostEnd, stop: &StopFlag) -> Result<(), WorkerError> {
        for _ in 0..BATCH {
            if !self.open || stop.is_set() {
                return Ok(());
            }
            let Some(chain) = self.receive.pop()? else {
                self.starved = true;
                return Ok(());
            };
            let mut writer = chain.writer()?;
            let mut piece = [0; PIECE];
            let room = writer.available_bytes().min(PIECE);
            if room == 0 {
                return Err(WorkerError::driver("a receive buffer has no room"));
            }
            let Input::Bytes(len) = end.read(&mut piece[..room]) else {
                self.receive.undo_pop();
                return Ok(());
            };
            writer.write_all(&piece[..len]).map_err(WorkerError::driver)?;
            self.receive.push(chain.head(), u32::try_from(len).unwrap_or(0))?;
        }
        Ok(())
    }

    /// True if the worker has to poll for input.
    pub const fn wants_input(&self) -> bool {
        self.open && !self.starved
    }

    /// True if the worker has to poll for room for output.
    pub const fn wants_room(&self) -> bool {
        self.blocked
    }
}
