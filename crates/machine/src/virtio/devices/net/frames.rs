//! The worker: moves frames between the queues and the back end.

use super::backend::{Backend, HEADER, LARGEST, Received};
use crate::Sources;
use crate::virtio::interface::exclusive::Claim;
use crate::virtio::interface::{
    Chain, ConfigInterrupt, Driver, ENOUGH_DESCRIPTORS, HostError, StopFlag, VirtQueue, Worker, WorkerError,
};
use crate::virtio::throttle::{Direction, ThrottleClaim, timer};
use kvm_accel::tap::TapOffload;
use rustix::event::PollFd;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_MRG_RXBUF,
};

/// The most frames in one direction before the other direction and the transport have their turn. [`ENOUGH_DESCRIPTORS`] can end a
/// turn earlier. One frame takes at most as many chains as the queue has descriptors.
const STRETCH: usize = 256;

/// The sources of the worker.
const THROTTLE: usize = 0;
pub(super) const BACKEND: usize = 1;

/// The position of `num_buffers` in the header.
const NUM_BUFFERS: std::ops::Range<usize> = 10..12;

pub struct Frames {
    backend: Claim<Backend>,
    throttle: Option<ThrottleClaim>,
    link: Arc<AtomicBool>,
    config: ConfigInterrupt,
    /// VIRTIO_NET_F_MRG_RXBUF: a frame may fill several chains.
    mergeable: bool,
    receive: Option<VirtQueue>,
    transmit: Option<VirtQueue>,
    /// The frame that is being sent.
    frame: Box<[u8]>,
    /// A frame of the back end that is in `incoming` and has not been delivered to the guest.
    waiting: Option<Waiting>,
    incoming: Box<[u8]>,
    /// A frame waits for the throttle, so both directions wait.
    throttled: bool,
    /// The last call stopped early, after the most frames allowed or because of the stop flag. The worker continues after the transport's
    /// commands.
    more: bool,
    stop: StopFlag,
}

struct Waiting {
    len: usize,
    /// The throttle has admitted the frame; the guest has no buffers for it.
    admitted: bool,
}

impl Frames {
    pub fn new(
        backend: Claim<Backend>,
        throttle: Option<ThrottleClaim>,
        link: Arc<AtomicBool>,
        Driver { features, queues, config, stop }: Driver,
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
            stop,
        }
    }

    /// Sends frames of the guest.
    fn transmit(&mut self) -> Result<(), WorkerError> {
        let (Some(queue), Some(backend)) = (&mut self.transmit, self.backend.get_mut()) else { return Ok(()) };
        let enough = queue.popped() + ENOUGH_DESCRIPTORS;
        for _ in 0..STRETCH {
            if self.stop.is_set() || queue.popped() >= enough {
                break;
            }
            if !backend.has_room() || self.throttled {
                return Ok(());
            }
            let Some(chain) = queue.pop()? else { return Ok(()) };
            let mut reader = chain.reader()?;
            let len = reader.available_bytes();
            // A frame without contents or of excessive length is dropped.
            if let Some(frame) = self.frame.get_mut(..len).filter(|_| len > HEADER) {
                let admitted = admit(self.throttle.as_mut(), Direction::Write, len);
                if !matches!(admitted, Ok(true)) {
                    queue.undo_pop();
                    self.throttled = !admitted?;
                    return Ok(());
                }
                reader.read_exact(frame).map_err(WorkerError::driver)?;
                backend.send(frame);
            }
            queue.push(chain.head(), 0)?;
        }
        self.more = true;
        Ok(())
    }

    /// Delivers frames to the guest.
    fn receive(&mut self) -> Result<(), WorkerError> {
        let (Some(queue), Some(backend)) = (&mut self.receive, self.backend.get_mut()) else { return Ok(()) };
        let enough = queue.popped() + ENOUGH_DESCRIPTORS;
        for _ in 0..STRETCH {
            if self.stop.is_set() || queue.popped() >= enough {
                break;
            }
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
            if !waiting.admitted && !admit(self.throttle.as_mut(), Direction::Read, waiting.len)? {
                self.throttled = true;
                return Ok(());
            }
            waiting.admitted = true;
            let Some(frame) = self.incoming.get_mut(..waiting.len) else { return Ok(()) };
            match deliver(queue, frame, self.mergeable, &self.stop)? {
                Delivered::Yes => self.waiting = None,
                Delivered::NoRoom => return Ok(()),
                Delivered::Interrupted => break,
            }
        }
        self.more = true;
        Ok(())
    }

    /// Returns the back end's descriptor if it has to be polled: for frames, unless one waits for the guest or the throttle, and for room.
    /// Not after the link has gone down.
    fn backend_source(&self) -> Option<PollFd<'_>> {
        let backend = self.backend.get().filter(|_| self.link.load(Ordering::Acquire))?;
        let frames = self.waiting.is_none() && !self.throttled;
        let writable = !backend.has_room();
        (frames || writable).then(|| backend.source(frames, writable))
    }

    fn throttle_source(&self) -> Option<PollFd<'_>> {
        self.throttle.as_ref().filter(|_| self.throttled)?.source()
    }

    /// Continues in both directions.
    fn work(&mut self) -> Result<(), WorkerError> {
        self.more = false;
        self.receive()?;
        self.transmit()
    }
}

fn admit(throttle: Option<&mut ThrottleClaim>, direction: Direction, len: usize) -> Result<bool, HostError> {
    throttle
        .map_or(Ok(true), |throttle| throttle.admit(direction, (len - HEADER) as u64))
        .map_err(|error| timer(&error))
}

/// The result of delivering a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// The guest has the frame, or the frame can never fit and is lost.
    Yes,
    /// The guest has offered too few buffers.
    NoRoom,
    /// The stop flag interrupted the delivery.
    Interrupted,
}

/// Copies a frame into the guest's buffers. With many descriptors in many chains that takes milliseconds, so it checks the stop flag in
/// between.
fn deliver(
    queue: &mut VirtQueue,
    frame: &mut [u8],
    mergeable: bool,
    stop: &StopFlag,
) -> Result<Delivered, WorkerError> {
    let mut chains: Vec<(Chain, usize)> = Vec::new();
    let mut room = 0;
    while room < frame.len() && (mergeable || chains.is_empty()) && chains.len() < usize::from(queue.size()) {
        let interrupted = stop.is_set();
        let popped = if interrupted { None } else { queue.pop()? };
        let Some(chain) = popped else {
            chains.iter().for_each(|_| queue.undo_pop());
            return Ok(if interrupted { Delivered::Interrupted } else { Delivered::NoRoom });
        };
        let len = chain.writable_bytes();
        if len == 0 {
            return Err(WorkerError::driver("a receive buffer has no room"));
        }
        room += len;
        chains.push((chain, len));
    }
    if room < frame.len() {
        chains.iter().for_each(|_| queue.undo_pop());
        return Ok(Delivered::Yes);
    }
    frame[NUM_BUFFERS].copy_from_slice(&u16::try_from(chains.len()).unwrap_or(u16::MAX).to_le_bytes());
    let mut rest = &*frame;
    let mut used = Vec::with_capacity(chains.len());
    for (chain, len) in &chains {
        if stop.is_set() {
            // The buffers have not been returned to the guest: the frame is written again after the pause.
            chains.iter().for_each(|_| queue.undo_pop());
            return Ok(Delivered::Interrupted);
        }
        let (piece, after) = rest.split_at(rest.len().min(*len));
        chain.writer()?.write_all(piece).map_err(WorkerError::driver)?;
        used.push((chain.head(), u32::try_from(piece.len()).unwrap_or(0)));
        rest = after;
    }
    queue.push_together(&used)?;
    Ok(Delivered::Yes)
}

impl Worker for Frames {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        self.work()
    }

    fn unfinished(&self) -> Option<usize> {
        // The number does not matter: a call for either queue serves both.
        self.more.then_some(0)
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        sources.add(THROTTLE, self.throttle_source());
        sources.add(BACKEND, self.backend_source());
    }

    fn ready(&mut self, source: usize) -> Result<(), WorkerError> {
        if source == THROTTLE {
            self.throttle.iter().for_each(ThrottleClaim::fired);
            self.throttled = false;
        } else if let Some(backend) = self.backend.get_mut() {
            backend.flush();
        }
        self.work()
    }
}
