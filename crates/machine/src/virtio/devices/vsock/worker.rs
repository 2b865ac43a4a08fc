//! The worker: it takes packets from the transmit queue and puts packets into the receive queue, in turns.

use super::mux::Mux;
use super::packet::{HEADER, Header};
use super::ports::Ports;
use crate::Sources;
use crate::virtio::interface::{ENOUGH_DESCRIPTORS, HostError, StopFlag, VirtQueue, Worker, WorkerError};
use rustix::event::{PollFd, PollFlags};
use std::io::{Read, Write};
use std::sync::Arc;

/// The most packets in one direction before the other direction has its turn.
const BATCH: usize = 64;
/// The most turns before the worker returns to its thread.
const TURNS: usize = 16;
/// The number of the transmit queue. A call for it serves both directions.
const TRANSMIT: usize = 1;
/// VIRTIO_VSOCK_EVENT_TRANSPORT_RESET.
const TRANSPORT_RESET: u32 = 0;

/// The worker, see the module. The queues are numbered as in section 5.10.2.
pub struct Streams {
    receive: VirtQueue,
    transmit: VirtQueue,
    events: VirtQueue,
    /// A reset has cut connections, and the guest has not been notified yet.
    interrupted: bool,
    mux: Mux,
    ports: Arc<Ports>,
    /// The queue with which to continue after a pause that interrupted the work.
    left: Option<usize>,
    stop: StopFlag,
}

impl Streams {
    pub fn new([receive, transmit, events]: [VirtQueue; 3], mux: Mux, ports: Arc<Ports>, stop: StopFlag) -> Self {
        let interrupted = ports.activate();
        Self { receive, transmit, events, interrupted, mux, ports, left: None, stop }
    }

    fn work(&mut self) -> Result<(), WorkerError> {
        self.left = None;
        let popped = |this: &Self| this.transmit.popped() + this.receive.popped();
        let enough = popped(self) + ENOUGH_DESCRIPTORS;
        for _ in 0..TURNS {
            let (took, gave) = (self.take()?, self.give()?);
            if self.left.is_some() || (!took && !gave) {
                return Ok(());
            }
            if popped(self) >= enough {
                break;
            }
        }
        self.mux.again();
        Ok(())
    }

    /// True if the stop flag is set. The work is then continued later.
    fn is_interrupted(&mut self) -> bool {
        if self.stop.is_set() {
            self.left = Some(TRANSMIT);
        }
        self.left.is_some()
    }

    /// Takes packets of the guest. Returns true if there were any.
    fn take(&mut self) -> Result<bool, WorkerError> {
        for taken in 0..BATCH {
            if self.is_interrupted() || !self.mux.takes_packets() {
                return Ok(taken > 0);
            }
            let Some(chain) = self.transmit.pop()? else { return Ok(taken > 0) };
            let mut reader = chain.reader()?;
            let mut header = [0; HEADER];
            reader.read_exact(&mut header).map_err(|_| WorkerError::driver("a packet is shorter than its header"))?;
            let header = Header::from_bytes(&header);
            if u64::from(header.len) > u64::try_from(reader.available_bytes()).unwrap_or(0) {
                return Err(WorkerError::driver("a packet is shorter than the length in its header"));
            }
            self.mux.packet(&header, &mut reader).map_err(WorkerError::driver)?;
            self.transmit.push(chain.head(), 0)?;
        }
        Ok(true)
    }

    /// Puts packets for the guest into its buffers. Returns true if there were any.
    fn give(&mut self) -> Result<bool, WorkerError> {
        for given in 0..BATCH {
            if self.is_interrupted() || !self.mux.has_turn() {
                return Ok(given > 0);
            }
            let Some(chain) = self.receive.pop()? else { return Ok(given > 0) };
            let mut writer = chain.writer()?;
            let mut data = writer.split_at(HEADER)?;
            let room = data.available_bytes();
            if room == 0 {
                return Err(WorkerError::driver("a receive buffer has no room for data"));
            }
            let Some((header, bytes)) = self.mux.turn(room) else {
                self.receive.undo_pop();
                continue;
            };
            let written = writer.write_all(&header.to_bytes()).and_then(|()| data.write_all(bytes));
            written.map_err(WorkerError::driver)?;
            self.receive.push(chain.head(), u32::try_from(HEADER + bytes.len()).unwrap_or(0))?;
        }
        Ok(true)
    }

    fn tell_reset(&mut self) -> Result<(), WorkerError> {
        while self.interrupted {
            let Some(chain) = self.events.pop()? else { return Ok(()) };
            let written = chain.writer()?.write_all(&TRANSPORT_RESET.to_le_bytes());
            written.map_err(|_| WorkerError::driver("an event buffer has no room for an event"))?;
            self.events.push(chain.head(), 4)?;
            self.interrupted = false;
        }
        Ok(())
    }
}

impl Worker for Streams {
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError> {
        if queue == 2 { self.tell_reset() } else { self.work() }
    }

    fn unfinished(&self) -> Option<usize> {
        self.left
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        sources.add(0, PollFd::from_borrowed_fd(self.mux.fd(), PollFlags::IN));
    }

    fn ready(&mut self, _source: usize) -> Result<(), WorkerError> {
        self.mux.poll().map_err(|error| {
            let what = "cannot poll the sockets of virtio-vsock (epoll_wait)";
            HostError::new(what, &error, "Check whether the host is out of kernel memory.")
        })?;
        self.work()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.ports.deactivate(self.mux.is_used());
    }
}
