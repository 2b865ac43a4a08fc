//! The life of requests: popped, admitted, done in slices by io_uring or by calls of this thread, answered. In whichever order they are
//! done.
//!
//! Requests take turns, a slice each, so that a large one does not keep small ones waiting. The slices in flight move at most
//! [`IN_FLIGHT`] bytes together: the kernel copies what is in the page cache while it takes requests, and a stop waits for what it cannot
//! cancel. A pause lets the slices in flight complete; the rest of their requests begins after it.

use super::device::Disk;
use super::image::{PUNCH, SLICE, ZERO};
use super::request::{Action, Descriptor, Request, Status};
use super::slab::Slab;
use crate::virtio::interface::{DriverError, HostError, StopFlag, VirtQueue, Worker, WorkerError};
use crate::virtio::throttle::{ThrottleHolder, ThrottleLease, timer};
use kvm_accel::guest_io::{self, GuestRange, GuestRing, RingCall, behind, total};
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// Slices at a stretch, before the transport has its turn.
const STRETCH: usize = 128;

/// The most bytes that reads and writes in flight move together, but for the last one's.
const IN_FLIGHT: u64 = 4 << 20;

/// How long the end of a worker waits for the kernel to give up reads and writes.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// Ranges that one call takes.
const MOST_RANGES: usize = 1024;

/// The worker of a disk.
pub struct Requests {
    disk: Arc<Disk>,
    /// What the driver and the device have agreed on.
    features: u64,
    queue: VirtQueue,
    stop: StopFlag,
    /// `None` where the kernel does not let us, or the image is not a plain file; and before the first request, since creating it takes longer
    /// than a vCPU should wait.
    ring: Option<GuestRing>,
    ring_made: bool,
    /// What a worker before this one has left in flight. Nothing begins before it has completed.
    leftover: Option<Leftover>,
    jobs: Slab<Job>,
    /// Jobs with something to begin, in turn.
    pending: VecDeque<usize>,
    /// What the ring is busy with; the number is its token.
    calls: Slab<Call>,
    /// Bytes that the reads and writes among them move.
    in_flight: u64,
    throttle: Option<ThrottleLease>,
    /// For reading requests, so that each does not allocate memory for its header's ranges.
    scratch: Vec<GuestRange>,
    /// Popped, and waiting for the throttle's timer.
    throttled: Option<Job>,
    /// The last call stopped early.
    more: bool,
}

/// A request between its queue and its answer.
struct Job {
    head: u16,
    request: Request,
    /// It is in [`Requests::pending`].
    queued: bool,
    /// Bytes of the request whose slices have begun.
    begun: u64,
    /// Bytes of the request.
    len: u64,
    /// Calls of the ring for this request.
    calls: u32,
    /// The ring cannot do it.
    plain: bool,
    /// The medium is to be flushed after the last slice.
    flush: bool,
    status: Status,
}

impl Job {
    /// Whether a slice of `len` bytes is the whole request, and this result says that all of it was done.
    fn is_done(&self, len: u64, result: &io::Result<u32>) -> bool {
        len == self.len && result.as_ref().is_ok_and(|count| u64::from(*count) == len)
    }
}

/// What the ring has taken of a job.
enum Begun {
    /// Something is left to begin.
    Part,
    /// Nothing is left.
    Whole,
}

/// A call of the ring.
struct Call {
    job: usize,
    kind: Kind,
}

/// What a call of the ring does, and for which bytes of its request.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Read {
        from: u64,
        len: u64,
    },
    Write {
        from: u64,
        len: u64,
    },
    /// A discard or write-zeroes.
    Allocate {
        from: u64,
    },
    Flush,
}

impl Kind {
    /// Whether this result means that something which was written before is lost. The kernel reports that once, to a flush. A write is
    /// made durable by a flush of its own and not by `RWF_DSYNC`, whose error would not tell a loss from a file system that is full.
    fn loses(self, result: &io::Result<u32>) -> bool {
        let error = result.as_ref().err().filter(|_| matches!(self, Self::Flush));
        error.is_some_and(|error| error.raw_os_error() != Some(libc::ECANCELED))
    }
}

/// A ring whose worker has ended, with calls that the kernel has not completed.
#[derive(Debug)]
pub struct Leftover {
    ring: GuestRing,
    /// By token.
    kinds: Vec<Option<Kind>>,
}

impl Leftover {
    /// Whether something is still in flight.
    fn is_busy(&mut self, disk: &Disk) -> bool {
        while let Some((token, result)) = self.ring.completed() {
            let kind = usize::try_from(token).ok().and_then(|token| *self.kinds.get(token)?);
            if kind.is_some_and(|kind| kind.loses(&result)) {
                disk.image.note_lost();
            }
        }
        self.ring.in_flight() > 0
    }
}

impl Requests {
    /// A worker for the driver's queue.
    pub fn new(disk: Arc<Disk>, features: u64, queue: VirtQueue, stop: StopFlag) -> Self {
        let throttle = disk.throttle.as_ref().map(ThrottleHolder::lease);
        let leftover = disk.take_leftover();
        Self {
            disk,
            features,
            queue,
            stop,
            ring: None,
            ring_made: false,
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

    /// As where the kernel has no io_uring.
    #[cfg(test)]
    pub fn without_ring(mut self) -> Self {
        self.ring_made = true;
        self
    }

    /// Begins slices while there are any and they fit, a stretch at most, then answers requests that are done; and again while that leads
    /// to anything.
    fn serve(&mut self) -> Result<(), WorkerError> {
        self.more = false;
        if let Some(leftover) = &mut self.leftover {
            if leftover.is_busy(&self.disk) {
                return Ok(());
            }
            self.leftover = None;
        }
        if !std::mem::replace(&mut self.ring_made, true) {
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

    /// Takes on the queue's next request, and begins the slice whose turn it is. False when there is neither.
    fn begin(&mut self) -> Result<bool, WorkerError> {
        // A driver has no more chains than descriptors.
        let room = self.jobs.len() < usize::from(self.queue.size());
        let next = if room { self.next()? } else { None };
        let popped = next.is_some();
        let begun = match next {
            Some(job) => self.take_on(job)?,
            None => None,
        };
        // A new request waits behind those that have begun.
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

    /// The next request that may pass.
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
                self.job(chain.head(), request)
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

    fn job(&self, head: u16, request: Request) -> Job {
        let durable = self.disk.durable(self.features);
        let (len, flush) = match &request.action {
            Action::Read { ranges, .. } => (total(ranges), false),
            Action::Write { ranges, .. } => (total(ranges), durable),
            Action::Discard { len, .. } | Action::WriteZeroes { len, .. } => (*len, durable),
            Action::Flush => (0, true),
            Action::Id { .. } | Action::Refuse(_) => (0, false),
        };
        Job { head, request, queued: false, begun: 0, len, calls: 0, plain: false, flush, status: Status::Ok }
    }

    /// Answers what needs no file. Returns the number of any other request, which is to get a turn.
    fn take_on(&mut self, mut job: Job) -> Result<Option<usize>, WorkerError> {
        match &job.request.action {
            Action::Refuse(status) => job.status = *status,
            Action::Id { ranges } => job.status = self.identify(ranges),
            // What is not discarded keeps its contents, which is allowed.
            Action::Discard { .. } if !self.disk.discard => {}
            _ if job.len == 0 && !job.flush => {}
            _ => {
                // A flush that cannot succeed is not begun, and a write that needs one neither.
                if job.flush && self.disk.image.has_lost() {
                    job.status = Status::IoError;
                } else {
                    job.queued = true;
                    return Ok(Some(self.jobs.insert(job)));
                }
            }
        }
        answer(&mut self.queue, &job)?;
        Ok(None)
    }

    /// Begins the next slice of a job, its flush, or its answer.
    fn advance(&mut self, number: usize) -> Result<(), WorkerError> {
        let Some(job) = self.jobs.get_mut(number) else { return Ok(()) };
        job.queued = false;
        if job.begun < job.len || job.flush {
            match self.begin_call(number) {
                // Most requests: their completion answers them.
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
            (job.begun, job.flush) = (job.len, false);
        }
        if job.queued {
            return Ok(());
        }
        // Slices of data are in flight together. An extent waits for the one before, which may fail, and a flush for all.
        let data = matches!(job.request.action, Action::Read { .. } | Action::Write { .. });
        if (job.begun < job.len && data) || (job.calls == 0 && (job.begun < job.len || job.flush)) {
            job.queued = true;
            self.pending.push_back(number);
        } else if job.calls == 0 {
            let answered = answer(&mut self.queue, job);
            self.jobs.clear(number);
            answered?;
        }
        Ok(())
    }

    /// Hands the next slice of a job to the ring; `None` when the ring cannot do it.
    fn begin_call(&mut self, number: usize) -> Option<Begun> {
        let (ring, job) = (self.ring.as_mut()?, self.jobs.get_mut(number)?);
        if job.plain {
            return None;
        }
        let from = job.begun;
        let mut slice = Vec::new();
        let (kind, call) = match &job.request.action {
            _ if from == job.len => (Kind::Flush, RingCall::Datasync),
            Action::Read { offset, ranges } => {
                let (ranges, len) = cut(ranges, from, job.len, &mut slice);
                (Kind::Read { from, len }, RingCall::Read { ranges, offset: offset + from })
            }
            Action::Write { offset, ranges } => {
                let (ranges, len) = cut(ranges, from, job.len, &mut slice);
                (Kind::Write { from, len }, RingCall::Write { ranges, offset: offset + from })
            }
            Action::Discard { offset, len } => {
                let len = extent(*offset + from, *len - from, self.disk.image.extent());
                let call = RingCall::Fallocate { mode: PUNCH.bits(), offset: offset + from, len };
                job.begun += len;
                (Kind::Allocate { from }, call)
            }
            Action::WriteZeroes { offset, len, unmap } => {
                let mode = if *unmap && self.disk.discard { PUNCH } else { ZERO };
                let len = extent(*offset + from, *len - from, self.disk.image.extent());
                let call = RingCall::Fallocate { mode: mode.bits(), offset: offset + from, len };
                job.begun += len;
                (Kind::Allocate { from }, call)
            }
            Action::Flush | Action::Id { .. } | Action::Refuse(_) => return None,
        };
        let token = self.calls.insert(Call { job: number, kind });
        if ring.push(token as u64, call).is_err() {
            job.begun = from;
            self.calls.remove(token);
            return None;
        }
        job.calls += 1;
        match kind {
            Kind::Read { len, .. } | Kind::Write { len, .. } => {
                job.begun += len;
                self.in_flight += len;
            }
            Kind::Flush => job.flush = false,
            Kind::Allocate { .. } => {}
        }
        Some(if job.begun < job.len || job.flush { Begun::Part } else { Begun::Whole })
    }

    /// Does the next slice of a job, or its flush, on this thread.
    fn perform(&mut self, number: usize) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        let (image, ram, from) = (&self.disk.image, self.queue.memory(), job.begun);
        let mut slice = Vec::new();
        let done = match &job.request.action {
            _ if from == job.len => {
                job.flush = false;
                image.flush().map(|()| 0)
            }
            Action::Read { offset, ranges } => {
                let (ranges, len) = cut(ranges, from, job.len, &mut slice);
                image.read(ram, ranges, offset + from).map(|()| len)
            }
            Action::Write { offset, ranges } => {
                let (ranges, len) = cut(ranges, from, job.len, &mut slice);
                image.write(ram, ranges, offset + from).map(|()| len)
            }
            Action::Discard { offset, len } => {
                let len = extent(*offset + from, *len - from, image.extent());
                image.discard(offset + from, len).map(|()| len)
            }
            Action::WriteZeroes { offset, len, unmap } => {
                let len = extent(*offset + from, *len - from, image.extent());
                image.write_zeroes(offset + from, len, *unmap && self.disk.discard)
            }
            Action::Flush | Action::Id { .. } | Action::Refuse(_) => return,
        };
        match done {
            Ok(len) => job.begun += len,
            Err(_) => job.status = Status::IoError,
        }
    }

    /// Takes what the ring has done: whether there was anything.
    fn complete(&mut self) -> Result<bool, WorkerError> {
        let mut any = false;
        while let Some((token, result)) = self.ring.as_mut().and_then(GuestRing::completed) {
            any = true;
            let token = usize::try_from(token).unwrap_or(usize::MAX);
            let Some(Call { job, kind }) = self.calls.remove(token) else { continue };
            self.outcome(job, kind, result);
            self.settle(job)?;
        }
        Ok(any)
    }

    /// What the ring did not do, or not all of, is done by this thread, and that result counts. Only a flush is not tried twice: the
    /// kernel reports a loss once.
    fn outcome(&mut self, number: usize, kind: Kind, result: io::Result<u32>) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        let (disk, ram) = (&self.disk, self.queue.memory());
        job.calls -= 1;
        if kind.loses(&result) {
            disk.image.note_lost();
        }
        let mut slice = Vec::new();
        let done = match (&job.request.action, kind) {
            // Most requests are one slice, and the ring has done all of it.
            (Action::Read { ranges, .. }, Kind::Read { len, .. }) if job.is_done(len, &result) => {
                self.in_flight -= len;
                guest_io::note_written(ram, ranges, len);
                Ok(())
            }
            (Action::Write { .. }, Kind::Write { len, .. }) if job.is_done(len, &result) => {
                self.in_flight -= len;
                Ok(())
            }
            (Action::Read { offset, ranges }, Kind::Read { from, len }) => {
                self.in_flight -= len;
                let (ranges, _) = cut(ranges, from, from + len, &mut slice);
                let count = note_read(ram, ranges, &result);
                let rest: Vec<_> = behind(ranges, count).collect();
                if rest.is_empty() { Ok(()) } else { disk.image.read(ram, &rest, offset + from + count) }
            }
            (Action::Write { offset, ranges }, Kind::Write { from, len }) => {
                self.in_flight -= len;
                let count = result.map_or(0, u64::from);
                let (ranges, _) = cut(ranges, from, from + len, &mut slice);
                let rest: Vec<_> = behind(ranges, count).collect();
                if rest.is_empty() { Ok(()) } else { disk.image.write(ram, &rest, offset + from + count) }
            }
            (_, Kind::Flush) => disk.image.flushed(|| result.map(|_| ())),
            (_, Kind::Allocate { from }) => {
                if result.is_err() {
                    (job.plain, job.begun) = (true, from);
                }
                Ok(())
            }
            _ => Ok(()),
        };
        if done.is_err() {
            job.status = Status::IoError;
        }
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
}

/// Writes the status of a request, and gives its chain back.
fn answer(queue: &mut VirtQueue, job: &Job) -> Result<(), WorkerError> {
    let Request { action, status: address } = &job.request;
    let written = match action {
        Action::Read { .. } if job.status == Status::Ok => job.len,
        Action::Id { ranges } if job.status == Status::Ok => total(ranges),
        _ => 0,
    };
    let status = queue.memory().write_obj(job.status.byte(), *address);
    status.map_err(|error| DriverError(format!("the status of a block request: {error}")))?;
    // A chain holds less than 4 GiB.
    Ok(queue.push(job.head, u32::try_from(written + 1).unwrap_or(u32::MAX))?)
}

/// Notes for the dirty log what a read of the ring has written: how many bytes are right. A read that failed may have written any of it.
fn note_read(ram: &kvm_accel::GuestRam, ranges: &[GuestRange], result: &io::Result<u32>) -> u64 {
    let count = result.as_ref().map_or(0, |count| u64::from(*count));
    guest_io::note_written(ram, ranges, if result.is_ok() { count } else { u64::MAX });
    count
}

/// The part of these ranges that begins at `from` and has at most [`SLICE`] bytes, and its length. `end` is the ranges' length.
fn cut<'a>(ranges: &'a [GuestRange], from: u64, end: u64, slice: &'a mut Vec<GuestRange>) -> (&'a [GuestRange], u64) {
    if from == 0 && end <= SLICE && ranges.len() <= MOST_RANGES && total(ranges) == end {
        return (ranges, end);
    }
    let mut left = SLICE.min(end - from);
    for range in behind(ranges, from).take(MOST_RANGES) {
        let len = u32::try_from(left).unwrap_or(u32::MAX).min(range.len);
        slice.push(GuestRange { len, ..range });
        left -= u64::from(len);
        if left == 0 {
            break;
        }
    }
    (slice, total(slice))
}

/// How much of a range to discard or to fill with zeroes at once: up to the next multiple of `extent`, so that no cluster is split.
const fn extent(offset: u64, len: u64, extent: u64) -> u64 {
    let room = extent - offset % extent;
    if len < room { len } else { room }
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
            poll.push(PollFd::new(&leftover.ring, PollFlags::IN));
            return;
        }
        poll.extend(self.busy_ring().map(|ring| PollFd::new(ring, PollFlags::IN)));
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
        let leftover = self.leftover.as_ref().map(|leftover| &leftover.ring).filter(|ring| ring.in_flight() > 0);
        leftover.or_else(|| self.busy_ring()).map(|ring| PollFd::new(ring, PollFlags::IN))
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        if let Some(leftover) = &mut self.leftover {
            leftover.is_busy(&self.disk);
        }
        self.complete()?;
        // What is left begins after the pause.
        self.more = true;
        Ok(())
    }
}

impl Requests {
    fn busy_ring(&self) -> Option<&GuestRing> {
        self.ring.as_ref().filter(|ring| ring.in_flight() > 0)
    }
}

impl Drop for Requests {
    /// Cancels what is in flight. What the kernel does not give up is left for the next worker.
    fn drop(&mut self) {
        if let Some(mut ring) = self.ring.take() {
            let Self { calls, jobs, disk, queue, .. } = self;
            // An error: the ring says itself that something is in flight.
            let _ = ring.cancel(CANCEL_WITHIN, |token, result| {
                let call = usize::try_from(token).ok().and_then(|token| calls.remove(token));
                let Some(Call { job, kind }) = call else { return };
                if kind.loses(&result) {
                    disk.image.note_lost();
                }
                note_abandoned(queue.memory(), jobs.get(job), kind);
            });
            if ring.in_flight() > 0 {
                let kinds = calls.iter().map(|call| {
                    let call = call?;
                    note_abandoned(queue.memory(), jobs.get(call.job), call.kind);
                    Some(call.kind)
                });
                let kinds = kinds.collect();
                self.leftover = Some(Leftover { ring, kinds });
            }
        }
        if let Some(mut leftover) = self.leftover.take()
            && leftover.is_busy(&self.disk)
        {
            self.disk.leave(leftover);
        }
    }
}

/// A read that is given up may have written, or may still write, any of its slice.
fn note_abandoned(ram: &kvm_accel::GuestRam, job: Option<&Job>, kind: Kind) {
    if let (Some(Action::Read { ranges, .. }), Kind::Read { from, len }) = (job.map(|job| &job.request.action), kind) {
        let mut slice = Vec::new();
        guest_io::note_written(ram, cut(ranges, from, from + len, &mut slice).0, u64::MAX);
    }
}
