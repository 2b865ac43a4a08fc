//! The device at work: packets from the transmit queue, packets into the receive queue, in turns.

use super::mux::Mux;
use super::packet::{HEADER, Header};
use super::ports::Ports;
use crate::virtio::{Malformed, VirtQueue, Worker};
use rustix::event::{PollFd, PollFlags};
use std::io::{Read, Write};
use std::sync::Arc;

/// Packets of one direction before the other one has its turn.
const BATCH: usize = 64;
/// Turns before the thread looks whether it is wanted elsewhere.
const TURNS: usize = 16;
/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET.
const TRANSPORT_RESET: u32 = 0;

/// See the module. Queues as section 5.10.2 numbers them.
pub struct Streams {
    receive: VirtQueue,
    transmit: VirtQueue,
    events: VirtQueue,
    /// The guest is to be told that connections were cut.
    interrupted: bool,
    mux: Mux,
    ports: Arc<Ports>,
}

impl Streams {
    pub fn new([receive, transmit, events]: [VirtQueue; 3], mux: Mux, ports: Arc<Ports>) -> Self {
        let interrupted = ports.activate();
        Self { receive, transmit, events, interrupted, mux, ports }
    }

    fn work(&mut self) -> Result<(), Malformed> {
        for _ in 0..TURNS {
            let (took, gave) = (self.take()?, self.give()?);
            if !took && !gave {
                return Ok(());
            }
        }
        self.mux.again();
        Ok(())
    }

    /// Packets of the guest; whether there were any.
    fn take(&mut self) -> Result<bool, Malformed> {
        for taken in 0..BATCH {
            if !self.mux.takes_packets() {
                return Ok(taken > 0);
            }
            let Some(chain) = self.transmit.pop()? else { return Ok(taken > 0) };
            let mut reader = chain.reader()?;
            let mut header = [0; HEADER];
            reader.read_exact(&mut header).map_err(|_| Malformed("a packet is shorter than its header".into()))?;
            let header = Header::from_bytes(&header);
            if u64::from(header.len) > u64::try_from(reader.available_bytes()).unwrap_or(0) {
                return Err(Malformed("a packet is shorter than its header says".into()));
            }
            self.mux.packet(&header, &mut reader).map_err(|error| Malformed(error.to_string()))?;
            self.transmit.push(chain.head(), 0)?;
        }
        Ok(true)
    }

    /// Packets for the guest; whether there were any.
    fn give(&mut self) -> Result<bool, Malformed> {
        for given in 0..BATCH {
            if !self.mux.has_turn() {
                return Ok(given > 0);
            }
            let Some(chain) = self.receive.pop()? else { return Ok(given > 0) };
            let mut writer = chain.writer()?;
            let mut data = writer.split_at(HEADER)?;
            let room = data.available_bytes();
            if room == 0 {
                return Err(Malformed("a receive buffer has no room for data".into()));
            }
            let Some((header, bytes)) = self.mux.turn(room) else {
                self.receive.undo_pop();
                continue;
            };
            let written = writer.write_all(&header.to_bytes()).and_then(|()| data.write_all(bytes));
            written.map_err(|error| Malformed(error.to_string()))?;
            self.receive.push(chain.head(), u32::try_from(HEADER + bytes.len()).unwrap_or(0))?;
        }
        Ok(true)
    }

    fn tell_reset(&mut self) -> Result<(), Malformed> {
        while self.interrupted {
            let Some(chain) = self.events.pop()? else { return Ok(()) };
            let written = chain.writer()?.write_all(&TRANSPORT_RESET.to_le_bytes());
            written.map_err(|_| Malformed("an event buffer has no room for an event".into()))?;
            self.events.push(chain.head(), 4)?;
            self.interrupted = false;
        }
        Ok(())
    }
}

impl Worker for Streams {
    fn notified(&mut self, queue: usize) -> Result<(), Malformed> {
        if queue == 2 { self.tell_reset() } else { self.work() }
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        poll.push(PollFd::from_borrowed_fd(self.mux.fd(), PollFlags::IN));
    }

    fn ready(&mut self, _source: usize) -> Result<(), Malformed> {
        self.mux.poll().map_err(|error| Malformed(error.to_string()))?;
        self.work()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.ports.deactivate(self.mux.is_used());
    }
}
