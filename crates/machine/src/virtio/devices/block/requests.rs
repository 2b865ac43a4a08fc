//! The worker of a disk. It takes requests from the queue, begins their slices, and completes requests in the order in which they finish.
//!
//! Requests take turns, one slice each, so that small requests do not wait for a large one. io_uring does a slice, or the I/O thread if
//! io_uring cannot. The slices in flight move at most [`IN_FLIGHT`] bytes together, for two reasons: the kernel copies data in the page
//! cache while it accepts requests, and a stop waits for calls that the kernel cannot cancel. A pause lets the slices in flight complete;
//! the remaining slices begin after it.

use super::disk::Disk;
use super::job::{Job, identify};
use super::leftover::Leftover;
use super::perform::perform;
use super::request::{Action, Descriptor, Request, Status};
use super::ring_call::{self, Call};
use super::slab::Slab;
use crate::Sources;
use crate::virtio::interface::{HostError, StopFlag, VirtQueue, Worker, WorkerError};
use crate::virtio::throttle::{ExclusiveThrottle, ThrottleClaim, timer};
use kvm_accel::guest_io::{GuestRange, GuestRing};
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::sync::Arc;

/// Slices that the worker begins before it returns to the transport's commands.
const STRETCH: usize = 128;

/// The worker begins no read or write while those in flight move this many bytes together.
const IN_FLIGHT: u64 = 4 << 20;

/// The sources of the worker.
const RING: usize = 0;
const THROTTLE: usize = 1;

/// The worker of a disk.
pub struct Requests {
    disk: Arc<Disk>,
    /// The negotiated features.
    features: u64,
    queue: VirtQueue,
    stop: StopFlag,
    /// `None` if the kernel does not permit io_uring or the image is not a plain file. The first request creates it, because that takes
    /// longer than a vCPU should wait.
    ring: Option<GuestRing>,
    /// The worker has tried to create `ring`.
    ring_tried: bool,
    /// Calls that a previous worker left in flight. This worker begins nothing before they have completed.
    leftover: Option<Leftover>,
    jobs: Slab<Job>,
    /// Jobs with a slice or a flush to begin, in round-robin order.
    pending: VecDeque<usize>,
    /// Calls in flight on the ring. The index of a call is its token.
    calls: Slab<Call>,
    /// Bytes that the reads and writes in `calls` move.
    in_flight: u64,
    throttle: Option<ThrottleClaim>,
    /// Scratch memory for the ranges of a request's header, so that parsing a request does not allocate.
    scratch: Vec<GuestRange>,
    /// A job that waits for the throttle's timer.
    throttled: Option<Job>,
    /// The last call of this worker stopped before it was finished.
    more: bool,
}

/// The progress of a job after a call on the ring.
enum Begun {
    /// The job has more slices, or a flush, to begin.
    Part,
    /// The job has nothing more to begin.
    Whole,
}

impl Requests {
    /// Creates a worker for the driver's queue.
    pub fn new(disk: Arc<Disk>, features: u64, queue: VirtQueue, stop: StopFlag) -> Self {
        let throttle = disk.throttle.as_ref().map(ExclusiveThrottle::claim);
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

    /// Behaves like on a kernel without io_uring.
    #[cfg(test)]
    pub fn without_ring(mut self) -> Self {
        self.ring_tried = true;
        self
    }

    /// Begins at most [`STRETCH`] slices, and completes requests that have finished. Repeats both until no call completes.
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

    /// True if another slice may begin.
    fn has_room(&self) -> bool {
        self.ring.as_ref().is_none_or(|ring| !ring.is_full()) && self.in_flight < IN_FLIGHT
    }

    /// Takes the next request from the queue, if there is one, and begins the next slice of the job whose turn it is. Returns false when
    /// there is neither.
    fn begin(&mut self) -> Result<bool, WorkerError> {
        // A driver cannot have more chains in flight than the queue has descriptors.
        let room = self.jobs.len() < usize::from(self.queue.size());
        let next = if room { self.next()? } else { None };
        let popped = next.is_some();
        let begun = match next {
            Some(job) => self.take_on(job)?,
            None => None,
        };
        // A new request waits behind jobs that have begun.
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

    /// Completes a request that does not access the image. Returns the number of any other job.
    fn take_on(&mut self, mut job: Job) -> Result<Option<usize>, WorkerError> {
        match &job.request.action {
            Action::Refuse(status) => job.status = *status,
            Action::Id { ranges } => job.status = identify(&self.disk.serial, self.queue.memory(), ranges),
            // A device may ignore a discard: the sectors keep their contents.
            Action::Discard { .. } if !self.disk.discard => {}
            _ if job.len == 0 && !job.flush => {}
            _ => {
                // After a loss every flush fails, so the device begins neither flushes nor writes that need one.
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

    /// Begins the next slice of a job or its flush, or completes it.
    fn advance(&mut self, number: usize) -> Result<(), WorkerError> {
        let Some(job) = self.jobs.get_mut(number) else { return Ok(()) };
        job.queued = false;
        if job.begun < job.len || job.flush {
            match self.begin_call(number) {
                // The common case: the completion of the call completes the request.
                Some(Begun::Whole) => return Ok(()),
                Some(Begun::Part) => {}
                None => self.perform(number),
            }
        }
        self.settle(number)
    }

    /// Queues a job for its next turn, or completes it.
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

    /// Submits the next slice of a job to the ring. Returns `None` if the ring cannot do it.
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

    /// Takes the completed calls from the ring. Returns true if there was one.
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

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        if let Some(leftover) = &self.leftover {
            sources.add(RING, leftover.source());
            return;
        }
        sources.add(RING, self.busy_ring());
        if self.throttled.is_some() {
            sources.add(THROTTLE, self.throttle.as_ref().and_then(ThrottleClaim::source));
        }
    }

    fn ready(&mut self, source: usize) -> Result<(), WorkerError> {
        if source == THROTTLE
            && let Some(throttle) = &self.throttle
        {
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
    /// Cancels the calls in flight. The next worker waits for those that the kernel does not cancel.
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
