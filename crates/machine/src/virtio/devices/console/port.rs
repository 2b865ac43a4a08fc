//! A port: what the guest writes goes to the host's end, and what comes from there into the guest's buffers.

use super::host_end::{HostEnd, Input};
use crate::virtio::interface::{Chain, StopFlag, VirtQueue, WorkerError};
use std::io::{Read, Write};

/// Bytes moved at once.
const PIECE: usize = 4096;
/// Pieces of one direction before somebody else has a turn.
const BATCH: usize = 64;

/// A port's queues and how far they are.
pub struct Port {
    receive: VirtQueue,
    transmit: VirtQueue,
    /// What the guest wrote and the host has not taken whole, and how much of it was taken.
    sending: Option<(Chain, usize)>,
    /// The host's end has no room.
    blocked: bool,
    /// The guest has no buffer for input.
    starved: bool,
    /// A program of the guest has it open. What comes for one that is closed waits with the host.
    pub open: bool,
    /// The driver has set it up.
    pub ready: bool,
}

impl Port {
    pub const fn new(receive: VirtQueue, transmit: VirtQueue, open: bool) -> Self {
        Self { receive, transmit, sending: None, blocked: false, starved: false, open, ready: open }
    }

    /// Moves what the guest has written; whether there may be more.
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

    /// The guest has given buffers.
    pub fn fed(&mut self, end: &mut HostEnd, stop: &StopFlag) -> Result<(), WorkerError> {
        self.starved = false;
        self.input(end, stop)
    }

    /// There may be input. What is left when it returns is found by waiting for it.
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

    /// Whether input is something to wait for.
    pub const fn wants_input(&self) -> bool {
        self.open && !self.starved
    }

    /// Whether room for output is something to wait for.
    pub const fn wants_room(&self) -> bool {
        self.blocked
    }
}
