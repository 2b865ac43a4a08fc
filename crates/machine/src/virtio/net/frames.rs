//! The worker: frames from the queues to the back end, and back.

use super::backend::{Backend, HEADER, LARGEST, Received};
use crate::virtio::lease::Lease;
use crate::virtio::throttle::{Direction, ThrottleLease};
use crate::virtio::{Chain, ConfigInterrupt, Driver, Malformed, VirtQueue, Worker};
use kvm_accel::tap::TapOffload;
use rustix::event::PollFd;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_MRG_RXBUF,
};

/// Frames in one direction at a stretch, before the other one and the transport have their turn.
const STRETCH: usize = 256;

/// Where `num_buffers` is in the header.
const NUM_BUFFERS: std::ops::Range<usize> = 10..12;

pub struct Frames {
    backend: Lease<Backend>,
    throttle: Option<ThrottleLease>,
    link: Arc<AtomicBool>,
    config: ConfigInterrupt,
    /// VIRTIO_NET_F_MRG_RXBUF: a frame may fill several chains.
    mergeable: bool,
    receive: Option<VirtQueue>,
    transmit: Option<VirtQueue>,
    /// The frame that is on its way.
    frame: Box<[u8]>,
    /// A frame from the back end that is in `incoming` and not in the guest yet.
    waiting: Option<Waiting>,
    incoming: Box<[u8]>,
    /// The throttle keeps both directions waiting.
    throttled: bool,
    /// There was more than a stretch: to go on at once, after whoever else wants something of this thread.
    more: bool,
}

struct Waiting {
    len: usize,
    /// The throttle has let it pass; the guest has no room.
    admitted: bool,
}

impl Frames {
    pub fn new(
        backend: Lease<Backend>,
        throttle: Option<ThrottleLease>,
        link: Arc<AtomicBool>,
        Driver { features, queues, config }: Driver,
    ) -> Self {
        let has = |feature: u32| features & 1 << feature != 0;
        if let Some(backend) = backend.get() {
            backend.set_offload(TapOffload {
                checksum: has(VIRTIO_NET_F_GUEST_CSUM),
                tso4: has(VIRTIO_NET_F_GUEST_TSO4),
                tso6: has(VIRTIO_NET_F_GUEST_TSO6),
            });
        }
        let mut queues = queues.into_iter();
        let (receive, transmit) = (queues.next(), queues.next());
        let buffer = || vec![0; LARGEST].into_boxed_slice();
        Self {
            backend,
            throttle,
            link,
            config,
            mergeable: has(VIRTIO_NET_F_MRG_RXBUF),
            receive,
            transmit,
            frame: buffer(),
            waiting: None,
            incoming: buffer(),
            throttled: false,
            more: false,
        }
    }

    /// From the guest.
    fn transmit(&mut self) -> Result<(), Malformed> {
        let (Some(queue), Some(backend)) = (&mut self.transmit, self.backend.get_mut()) else { return Ok(()) };
        for _ in 0..STRETCH {
            if !backend.has_room() || self.throttled {
                return Ok(());
            }
            let Some(chain) = queue.pop()? else { return Ok(()) };
            let mut reader = chain.reader()?;
            let len = reader.available_bytes();
            // What cannot be a frame is lost, as on any network.
            if let Some(frame) = self.frame.get_mut(..len).filter(|_| len > HEADER) {
                if !admit(self.throttle.as_mut(), Direction::Write, len) {
                    queue.undo_pop();
                    self.throttled = true;
                    return Ok(());
                }
                reader.read_exact(frame).map_err(|error| Malformed(error.to_string()))?;
                backend.send(frame);
            }
            queue.push(chain.head(), 0)?;
        }
        self.more = true;
        Ok(())
    }

    /// To the guest.
    fn receive(&mut self) -> Result<(), Malformed> {
        let (Some(queue), Some(backend)) = (&mut self.receive, self.backend.get_mut()) else { return Ok(()) };
        for _ in 0..STRETCH {
            let waiting = match &mut self.waiting {
                Some(waiting) => waiting,
                none => match backend.receive(&mut self.incoming) {
                    Received::Frame(len) => none.insert(Waiting { len, admitted: false }),
                    Received::Nothing => return Ok(()),
                    Received::Closed => {
                        if self.link.swap(false, Ordering::AcqRel) {
                            self.config.signal();
                        }
                        return Ok(());
                    }
                },
            };
            if !waiting.admitted && !admit(self.throttle.as_mut(), Direction::Read, waiting.len) {
                self.throttled = true;
                return Ok(());
            }
            waiting.admitted = true;
            let Some(frame) = self.incoming.get_mut(..waiting.len) else { return Ok(()) };
            if !deliver(queue, frame, self.mergeable)? {
                return Ok(());
            }
            self.waiting = None;
        }
        self.more = true;
        Ok(())
    }

    /// Whether to poll the back end, and for frames: while the link is up and the guest has taken the last one.
    fn backend_source(&self) -> Option<PollFd<'_>> {
        let backend = self.backend.get().filter(|_| self.link.load(Ordering::Acquire))?;
        let frames = self.waiting.is_none() && !self.throttled;
        // A back end with room can be written to at once.
        let writable = self.more || !backend.has_room();
        (frames || writable).then(|| backend.source(frames, writable))
    }

    fn throttle_source(&self) -> Option<PollFd<'_>> {
        self.throttle.as_ref().filter(|_| self.throttled)?.source()
    }

    /// Goes on in both directions.
    fn work(&mut self) -> Result<(), Malformed> {
        self.more = false;
        self.receive()?;
        self.transmit()
    }
}

/// A timer that cannot be set limits nothing.
fn admit(throttle: Option<&mut ThrottleLease>, direction: Direction, len: usize) -> bool {
    throttle.is_none_or(|throttle| throttle.admit(direction, (len - HEADER) as u64).unwrap_or(true))
}

/// Puts a frame into the guest's buffers: false when it has too few. One that can never fit is lost.
fn deliver(queue: &mut VirtQueue, frame: &mut [u8], mergeable: bool) -> Result<bool, Malformed> {
    let mut chains: Vec<(Chain, usize)> = Vec::new();
    let mut room = 0;
    while room < frame.len() && (mergeable || chains.is_empty()) && chains.len() < usize::from(queue.size()) {
        let Some(chain) = queue.pop()? else {
            chains.iter().for_each(|_| queue.undo_pop());
            return Ok(false);
        };
        let len = chain.writer()?.available_bytes();
        room += len;
        chains.push((chain, len));
    }
    if room < frame.len() {
        chains.iter().for_each(|_| queue.undo_pop());
        return Ok(true);
    }
    frame[NUM_BUFFERS].copy_from_slice(&u16::try_from(chains.len()).unwrap_or(u16::MAX).to_le_bytes());
    let mut rest = &*frame;
    let mut used = Vec::with_capacity(chains.len());
    for (chain, len) in &chains {
        let (piece, after) = rest.split_at(rest.len().min(*len));
        chain.writer()?.write_all(piece).map_err(|error| Malformed(error.to_string()))?;
        used.push((chain.head(), u32::try_from(piece.len()).unwrap_or(0)));
        rest = after;
    }
    queue.push_together(&used)?;
    Ok(true)
}

impl Worker for Frames {
    fn notified(&mut self, _queue: usize) -> Result<(), Malformed> {
        self.work()
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        poll.extend(self.throttle_source());
        poll.extend(self.backend_source());
    }

    fn ready(&mut self, source: usize) -> Result<(), Malformed> {
        if source == 0 && self.throttled {
            self.throttle.iter().for_each(ThrottleLease::fired);
            self.throttled = false;
        } else if let Some(backend) = self.backend.get_mut() {
            backend.flush();
        }
        self.work()
    }
}
