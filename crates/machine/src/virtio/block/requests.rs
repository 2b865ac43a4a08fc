//! The life of requests: popped, admitted, done by io_uring or at once, answered. In whichever order they are done.

use super::device::Disk;
use super::raw::{PUNCH, ZERO};
use super::request::{Action, Descriptor, Request, Status};
use crate::virtio::throttle::{ThrottleHolder, ThrottleLease};
use crate::virtio::{Malformed, VirtQueue, Worker};
use kvm_accel::guest_io::{self, GuestRange, GuestRing, RingCall, total};
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// Requests at a stretch, before the transport has its turn.
const STRETCH: usize = 128;

/// The worker of a disk.
pub struct Requests {
    disk: Arc<Disk>,
    /// What the driver and the device have agreed on.
    features: u64,
    queue: VirtQueue,
    /// `None` where the kernel does not let us, or the image is not a plain file; and before the first request, since making it takes longer
    /// than a vCPU should wait.
    ring: Option<GuestRing>,
    ring_made: bool,
    /// What the ring is busy with; the index is its token.
    in_flight: Vec<Option<Job>>,
    /// Tokens that are free.
    free: Vec<usize>,
    throttle: Option<ThrottleLease>,
    /// Popped, and waiting for the throttle's timer.
    throttled: Option<Job>,
    /// There was a stretch of them, and may be more.
    more: bool,
}

/// A request between its queue and its answer.
struct Job {
    head: u16,
    request: Request,
}

impl Requests {
    /// A worker for the driver's queue.
    pub fn new(disk: Arc<Disk>, features: u64, queue: VirtQueue) -> Self {
        let throttle = disk.throttle.as_ref().map(ThrottleHolder::lease);
        Self {
            disk,
            features,
            queue,
            ring: None,
            ring_made: false,
            in_flight: Vec::new(),
            free: Vec::new(),
            throttle,
            throttled: None,
            more: false,
        }
    }

    /// As where the kernel has no io_uring.
    #[cfg(test)]
    pub fn without_ring(self) -> Self {
        Self { ring_made: true, ..self }
    }

    /// Takes requests on while there are any and they fit, a stretch at most, then answers those that are done; and again while that leads to anything.
    fn serve(&mut self) -> Result<(), Malformed> {
        if !std::mem::replace(&mut self.ring_made, true) {
            let file = self.disk.image.file();
            self.ring = file.and_then(|file| GuestRing::new(self.queue.memory(), file, self.queue.size()).ok());
        }
        let mut left = STRETCH;
        loop {
            while left > 0 && self.ring.as_ref().is_none_or(|ring| !ring.is_full()) {
                let Some(job) = self.next()? else { break };
                self.begin(job)?;
                left -= 1;
            }
            if let Some(ring) = &mut self.ring {
                ring.submit().map_err(|error| Malformed(format!("io_uring: {error}")))?;
            }
            if !self.complete()? {
                self.more = left == 0;
                return Ok(());
            }
        }
    }

    /// The next request that may pass.
    fn next(&mut self) -> Result<Option<Job>, Malformed> {
        let job = match self.throttled.take() {
            Some(job) => job,
            None => {
                let Some(chain) = self.queue.pop()? else { return Ok(None) };
                let descriptors = chain.descriptors().map(|descriptor| Descriptor {
                    range: GuestRange { address: descriptor.addr().0, len: descriptor.len() },
                    writable: descriptor.is_write_only(),
                });
                let request = Request::read(descriptors, self.queue.memory(), self.disk.limits)?;
                Job { head: chain.head(), request }
            }
        };
        if let (Some(throttle), Some((direction, bytes))) = (&mut self.throttle, job.request.action.limited()) {
            let admitted = throttle.admit(direction, bytes);
            if !admitted.map_err(|error| Malformed(format!("a rate limit has no timer: {error}")))? {
                self.throttled = Some(job);
                return Ok(None);
            }
        }
        Ok(Some(job))
    }

    /// Hands a request to the ring, or does it.
    fn begin(&mut self, job: Job) -> Result<(), Malformed> {
        let status = match &job.request.action {
            Action::Refuse(status) => *status,
            Action::Id { ranges } => self.identify(ranges),
            // What is not discarded stays as it is: that is allowed.
            Action::Discard { .. } if !self.disk.discard => Status::Ok,
            action => {
                if let Some(call) = self.call(action)
                    && let Some(ring) = &mut self.ring
                {
                    let token = self.free.pop().unwrap_or(self.in_flight.len());
                    if ring.push(token as u64, call).is_ok() {
                        match self.in_flight.get_mut(token) {
                            Some(place) => *place = Some(job),
                            None => self.in_flight.push(Some(job)),
                        }
                        return Ok(());
                    }
                    self.free.push(token);
                }
                self.perform(action)
            }
        };
        self.answer(&job, status)
    }

    /// What the ring can do of it.
    fn call<'a>(&self, action: &'a Action) -> Option<RingCall<'a>> {
        let durable = self.durable();
        Some(match action {
            Action::Read { offset, ranges } => RingCall::Read { ranges, offset: *offset },
            Action::Write { offset, ranges } => RingCall::Write { ranges, offset: *offset, durable },
            Action::Flush if !self.disk.image.flush_failed() => RingCall::Datasync,
            Action::Discard { offset, len } if *len > 0 && !durable => {
                RingCall::Fallocate { mode: PUNCH.bits(), offset: *offset, len: *len }
            }
            Action::WriteZeroes { offset, len, unmap } if *len > 0 && !durable => {
                let mode = if *unmap && self.disk.discard { PUNCH } else { ZERO };
                RingCall::Fallocate { mode: mode.bits(), offset: *offset, len: *len }
            }
            _ => return None,
        })
    }

    /// Answers what the ring has done: whether there was anything.
    fn complete(&mut self) -> Result<bool, Malformed> {
        let mut any = false;
        while let Some((token, result)) = self.ring.as_mut().and_then(GuestRing::completed) {
            any = true;
            let token = usize::try_from(token).unwrap_or(usize::MAX);
            let Some(job) = self.in_flight.get_mut(token).and_then(Option::take) else { continue };
            self.free.push(token);
            let status = self.outcome(&job.request.action, result);
            self.answer(&job, status)?;
        }
        Ok(any)
    }

    /// What the ring did not do, or not all of, is done without it, and that result counts. Only a flush is not tried twice: the kernel tells
    /// once that something was lost.
    fn outcome(&self, action: &Action, result: io::Result<u32>) -> Status {
        let done = match (action, &result) {
            (Action::Flush, _) => {
                let flushed = self.disk.image.flushed(|| result.map(|_| ()));
                return if flushed.is_ok() { Status::Ok } else { Status::IoError };
            }
            (Action::Read { ranges, .. }, Ok(count)) => {
                guest_io::note_written(self.queue.memory(), ranges, u64::from(*count));
                u64::from(*count) == total(ranges)
            }
            (Action::Write { ranges, .. }, Ok(count)) => u64::from(*count) == total(ranges),
            (_, result) => result.is_ok(),
        };
        if done { Status::Ok } else { self.perform(action) }
    }

    fn perform(&self, action: &Action) -> Status {
        match action {
            Action::WriteZeroes { offset, len, unmap: true } if !self.disk.discard => {
                let action = Action::WriteZeroes { offset: *offset, len: *len, unmap: false };
                self.disk.image.perform(self.queue.memory(), &action, self.durable())
            }
            action => self.disk.image.perform(self.queue.memory(), action, self.durable()),
        }
    }

    fn durable(&self) -> bool {
        self.disk.durable(self.features)
    }

    fn identify(&self, ranges: &[GuestRange]) -> Status {
        let mut rest = self.disk.serial.as_slice();
        for range in ranges {
            let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(rest.len());
            if self.queue.memory().write_slice(&rest[..len], GuestAddress(range.address)).is_err() {
                return Status::IoError;
            }
            rest = &rest[len..];
        }
        Status::Ok
    }

    fn answer(&mut self, job: &Job, status: Status) -> Result<(), Malformed> {
        let Request { action, status: address } = &job.request;
        let written = match action {
            Action::Read { ranges, .. } | Action::Id { ranges } if status == Status::Ok => total(ranges),
            _ => 0,
        };
        let status = self.queue.memory().write_obj(status.byte(), *address);
        status.map_err(|error| Malformed(format!("the status of a block request: {error}")))?;
        self.queue.push(job.head, u32::try_from(written + 1).unwrap_or(u32::MAX))
    }
}

impl Worker for Requests {
    fn notified(&mut self, _queue: usize) -> Result<(), Malformed> {
        self.serve()
    }

    fn unfinished(&self) -> Option<usize> {
        self.more.then_some(0)
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        poll.extend(
            self.ring.as_ref().filter(|ring| ring.in_flight() > 0).map(|ring| PollFd::new(ring, PollFlags::IN)),
        );
        if self.throttled.is_some() {
            poll.extend(self.throttle.as_ref().and_then(ThrottleLease::source));
        }
    }

    fn ready(&mut self, _source: usize) -> Result<(), Malformed> {
        if let Some(throttle) = &self.throttle {
            throttle.fired();
        }
        self.serve()
    }
}
