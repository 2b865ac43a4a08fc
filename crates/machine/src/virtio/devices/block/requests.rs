//! The worker of a disk: takes requests from the queue, begins their slices, and answers them, in the order in which they are done.
//!
//! Requests take turns, a slice each, so that a large one does not keep small ones waiting. io_uring does a slice, or the I/O thread where
//! io_uring cannot. The slices in flight move at most [`IN_FLIGHT`] bytes together: the kernel copies what is in the page cache while it
//! takes requests, and a stop waits for what it cannot cancel. A pause lets the slices in flight complete; the rest of their requests
//! begins after it.

use super::disk::Disk;
use super::job::{Job, identify};
use super::leftover::Leftover;
use super::perform::perform;
use super::request::{Action, Descriptor, Request, Status};
use super::ring_call::{self, Call};
use super::slab::Slab;
use crate::virtio::interface::{HostError, StopFlag, VirtQueue, Worker, WorkerError};
use crate::virtio::throttle::{ThrottleHolder, ThrottleLease, timer};
use kvm_accel::guest_io::{GuestRange, GuestRing};
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::sync::Arc;

/// Slices that the worker begins before it looks at the transport's commands.
const STRETCH: usize = 128;

/// The worker begins no read or write while those in flight move this many bytes together.
const IN_FLIGHT: u64 = 4 << 20;

/// The worker of a disk.
pub struct Requests {
    disk: Arc<Disk>,
    /// What the driver and the device have agreed on.
    features: u64,
    queue: VirtQueue,
    stop: StopFlag,
    /// `None` if the kernel refuses an io_uring or the image is not a plain file. The first request creates it, because that takes longer
    /// than a vCPU should wait.
    ring: Option<GuestRing>,
    /// The creation of `ring` was tried.
    ring_tried: bool,
    /// What a worker before this one has left in flight. Nothing begins before it has completed.
    leftover: Option<Leftover>,
    jobs: Slab<Job>,
    /// Jobs with something to begin, in turn.
    pending: VecDeque<usize>,
    /// Calls in flight on the ring. The number of a call is its token.
    calls: Slab<Call>,
    /// Bytes that the reads and writes in `calls` move.
    in_flight: u64,
    throttle: Option<ThrottleLease>,
    /// Memory for the ranges of a request's header, so that reading a request allocates none.
    scratch: Vec<GuestRange>,
    /// A job that waits for the throttle's timer.
    throttled: Option<Job>,
    /// The last call of this worker stopped early.
    more: bool,
}

/// How much of a job the ring has taken.
enum Begun {
    /// A slice or the flush is left to begin.
    Part,
    /// Nothing is left to begin.
    Whole,
}

impl Requests {
    /// Creates a worker for the driver's queue.
    pub fn new(disk: Arc<Disk>, features: u64, queue: VirtQueue, stop: StopFlag) -> Self {
        let throttle = disk.throttle.as_ref().map(ThrottleHolder::lease);
        let leftover = disk.take_leftover();
        Self {
            disk,
            features,
            queue,
            stop,
            ring: None,
            ring_tried: false,
            leftover,
            jobs: Slab::default(),
            pending: VecDeque::new(),
            calls: Slab::default(),
            in_flight: 0,
            throttle,
            scratch: Vec::new(),
            throttled: None,
            more: false,
        }
    }

    /// Behaves as on a kernel without io_uring.
    #[cfg(test)]
    pub fn without_ring(mut self) -> Self {
        self.ring_tried = true;
        self
    }

    /// Begins slices, [`STRETCH`] at most, and answers requests that are done. Repeats both until nothing completes.
    fn serve(&mut self) -> Result<(), WorkerError> {
        self.more = false;
        if let Some(leftover) = &mut self.leftover {
            if leftover.is_busy(&self.disk.image) {
                return Ok(());
            }
            self.leftover = None;
        }
        if !std::mem::replace(&mut self.ring_tried, true) {
            let file = self.disk.image.file();
            self.ring = file.and_then(|file| GuestRing::new(self.queue.memory(), file, self.queue.size()).ok());
        }
        let mut left = STRETCH;
        loop {
            let mut interrupted = false;
            while left > 0 && self.has_room() {
                interrupted = self.stop.is_set();
                if interrupted || !self.begin()? {
                    break;
                }
                left -= 1;
            }
            if let Some(ring) = &mut self.ring {
                ring.submit().map_err(|error| {
                    let remedy = "Look for a lack of memory on the host, or a limit of the process's control group.";
                    HostError::new("io_uring could not take requests of a disk (io_uring_enter)", &error, remedy)
                })?;
            }
            let completed = self.complete()?;
            if interrupted || !completed {
                self.more = interrupted || left == 0;
                return Ok(());
            }
        }
    }

    /// Whether another slice may begin.
    fn has_room(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| !ring.is_full()) && self.in_flight < IN_FLIGHT
    }

    /// Takes the next request from the queue, and begins the slice whose turn it is. Returns false when there is neither.
    fn begin(&mut self) -> Result<bool, WorkerError> {
        // A driver has no more chains than descriptors.
        let room = self.jobs.len() < usize::from(self.queue.size());
        let next = if room { self.next()? } else { None };
        let popped = next.is_some();
        let begun = match next {
            Some(job) => self.take_on(job)?,
            None => None,
        };
        // A new request waits behind requests that have begun.
        let number = match begun {
            Some(number) if self.pending.is_empty() => number,
            _ => {
                self.pending.extend(begun);
                let Some(number) = self.pending.pop_front() else { return Ok(popped) };
                number
            }
        };
        self.advance(number)?;
        Ok(true)
    }

    /// Returns the next request that the rate limits admit.
    fn next(&mut self) -> Result<Option<Job>, WorkerError> {
        let job = match self.throttled.take() {
            Some(job) => job,
            None => {
                let Some(chain) = self.queue.pop()? else { return Ok(None) };
                let descriptors = chain.descriptors().map(|descriptor| Descriptor {
                    range: GuestRange { address: descriptor.addr().0, len: descriptor.len() },
                    writable: descriptor.is_write_only(),
                });
                let request = Request::read(descriptors, &mut self.scratch, self.queue.memory(), self.disk.limits)?;
                Job::new(chain.head(), request, self.disk.durable(self.features))
            }
        };
        if let (Some(throttle), Some((direction, bytes))) = (&mut self.throttle, job.request.action.limited()) {
            let admitted = throttle.admit(direction, bytes);
            if !matches!(admitted, Ok(true)) {
                self.throttled = Some(job);
                admitted.map_err(|error| timer(&error))?;
                return Ok(None);
            }
        }
        Ok(Some(job))
    }

    /// Answers a request that needs no file. Returns the number of any other request.
    fn take_on(&mut self, mut job: Job) -> Result<Option<usize>, WorkerError> {
        match &job.request.action {
            Action::Refuse(status) => job.status = *status,
            Action::Id { ranges } => job.status = identify(&self.disk.serial, self.queue.memory(), ranges),
            // The device may ignore a discard: the sectors keep their contents.
            Action::Discard { .. } if !self.disk.discard => {}
            _ if job.len == 0 && !job.flush => {}
            _ => {
                // A flush would fail, so the device begins neither a flush nor a write that needs one.
                if job.flush && self.disk.image.has_lost() {
                    job.status = Status::IoError;
                } else {
                    job.queued = true;
                    return Ok(Some(self.jobs.insert(job)));
                }
            }
        }
        job.answer(&mut self.queue)?;
        Ok(None)
    }

    /// Begins the next slice of a job, its flush, or its answer.
    fn advance(&mut self, number: usize) -> Result<(), WorkerError> {
        let Some(job) = self.jobs.get_mut(number) else { return Ok(()) };
        job.queued = false;
        if job.begun < job.len || job.flush {
            match self.begin_call(number) {
                // Most requests: the completion answers them.
                Some(Begun::Whole) => return Ok(()),
                Some(Begun::Part) => {}
                None => self.perform(number),
            }
        }
        self.settle(number)
    }

    /// Gives a job its next turn, or answers it.
    fn settle(&mut self, number: usize) -> Result<(), WorkerError> {
        let Some(job) = self.jobs.get_mut(number) else { return Ok(()) };
        if job.status != Status::Ok {
            job.abandon_rest();
        }
        if job.queued {
            return Ok(());
        }
        if job.may_begin() {
            job.queued = true;
            self.pending.push_back(number);
        } else if job.calls == 0 {
            let answered = job.answer(&mut self.queue);
            self.jobs.clear(number);
            answered?;
        }
        Ok(())
    }

    /// Hands the next slice of a job to the ring. Returns `None` when the ring cannot do it.
    fn begin_call(&mut self, number: usize) -> Option<Begun> {
        let (ring, job) = (self.ring.as_mut()?, self.jobs.get_mut(number)?);
        let mut slice = Vec::new();
        let (kind, call) = ring_call::next(job, &self.disk.image, self.disk.discard, &mut slice)?;
        let token = self.calls.insert(Call { job: number, kind });
        if ring.push(token as u64, call).is_err() {
            self.calls.remove(token);
            return None;
        }
        ring_call::taken(job, kind);
        self.in_flight += kind.data();
        Some(if job.begun < job.len || job.flush { Begun::Part } else { Begun::Whole })
    }

    /// Does the next slice of a job on this thread.
    fn perform(&mut self, number: usize) {
        if let Some(job) = self.jobs.get_mut(number) {
            perform(job, &self.disk.image, self.disk.discard, self.queue.memory());
        }
    }

    /// Takes the calls that the ring has completed. Returns whether there was one.
    fn complete(&mut self) -> Result<bool, WorkerError> {
        let mut any = false;
        while let Some((token, result)) = self.ring.as_mut().and_then(GuestRing::completed) {
            any = true;
            let token = usize::try_from(token).unwrap_or(usize::MAX);
            let Some(Call { job, kind }) = self.calls.remove(token) else { continue };
            self.in_flight -= kind.data();
            if let Some(job) = self.jobs.get_mut(job) {
                ring_call::completed(job, kind, result, &self.disk.image, self.queue.memory());
            }
            self.settle(job)?;
        }
        Ok(any)
    }

    fn busy_ring(&self) -> Option<PollFd<'_>> {
        let ring = self.ring.as_ref().filter(|ring| ring.in_flight() > 0);
        ring.map(|ring| PollFd::new(ring, PollFlags::IN))
    }
}

impl Worker for Requests {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        self.serve()
    }

    fn unfinished(&self) -> Option<usize> {
        self.more.then_some(0)
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        if let Some(leftover) = &self.leftover {
            poll.push(leftover.source());
            return;
        }
        poll.extend(self.busy_ring());
        if self.throttled.is_some() {
            poll.extend(self.throttle.as_ref().and_then(ThrottleLease::source));
        }
    }

    fn ready(&mut self, _source: usize) -> Result<(), WorkerError> {
        if let Some(throttle) = &self.throttle {
            throttle.fired();
        }
        self.serve()
    }

    fn in_flight(&self) -> Option<PollFd<'_>> {
        self.leftover.as_ref().and_then(Leftover::in_flight).or_else(|| self.busy_ring())
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        if let Some(leftover) = &mut self.leftover {
            leftover.is_busy(&self.disk.image);
        }
        self.complete()?;
        // The other slices begin after the pause.
        self.more = true;
        Ok(())
    }
}

impl Drop for Requests {
    /// Cancels what is in flight. The next worker waits for what the kernel does not give up.
    fn drop(&mut self) {
        if let Some(ring) = self.ring.take()
            && let Some(leftover) =
                Leftover::cancel(ring, &mut self.calls, &self.jobs, &self.disk.image, self.queue.memory())
        {
            self.leftover = Some(leftover);
        }
        if let Some(mut leftover) = self.leftover.take()
            && leftover.is_busy(&self.disk.image)
        {
            self.disk.leave(leftover);
        }
    }
}
