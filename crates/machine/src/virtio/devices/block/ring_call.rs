//! Calls of io_uring: the call for the next slice of a job, and the effect of a completed call on its job.

use super::image::{Image, PUNCH, ZERO};
use super::job::Job;
use super::request::{Action, Status};
use super::slice::{cut, extent};
use kvm_accel::GuestRam;
use kvm_accel::guest_io::{self, GuestRange, RingCall, behind};
use std::io;

/// A call that has been submitted to the ring.
pub struct Call {
    /// The index of its job.
    pub job: usize,
    pub kind: CallKind,
}

/// The operation of a call, and the bytes of its request that it covers.
#[derive(Clone, Copy, Debug)]
pub enum CallKind {
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
        len: u64,
    },
    Flush,
}

impl CallKind {
    /// True if this result means that earlier writes are lost. The kernel reports a loss once, to a flush. Durable writes therefore use a
    /// separate flush and not `RWF_DSYNC`, whose error does not distinguish a loss from a full file system.
    pub fn loses(self, result: &io::Result<u32>) -> bool {
        let error = result.as_ref().err().filter(|_| matches!(self, Self::Flush));
        error.is_some_and(|error| error.raw_os_error() != Some(libc::ECANCELED))
    }

    /// Returns the number of bytes that a read or write moves.
    pub const fn data(self) -> u64 {
        match self {
            Self::Read { len, .. } | Self::Write { len, .. } => len,
            Self::Allocate { .. } | Self::Flush => 0,
        }
    }
}

/// Returns the call for the next slice of `job`, or for its flush after the last slice; `None` if the ring cannot do it. `slice` is scratch
/// memory for the ranges of the call. With `discard`, writing zeroes may free space on the host.
pub fn next<'a>(
    job: &'a Job,
    image: &Image,
    discard: bool,
    slice: &'a mut Vec<GuestRange>,
) -> Option<(CallKind, RingCall<'a>)> {
    if job.plain {
        return None;
    }
    let from = job.begun;
    let allocate = |mode: rustix::fs::FallocateFlags, offset: u64, len: u64| {
        let len = extent(offset + from, len - from, image.extent());
        (CallKind::Allocate { from, len }, RingCall::Fallocate { mode: mode.bits(), offset: offset + from, len })
    };
    Some(match &job.request.action {
        _ if from == job.len => (CallKind::Flush, RingCall::Datasync),
        Action::Read { offset, ranges } => {
            let (ranges, len) = cut(ranges, from, job.len, slice);
            (CallKind::Read { from, len }, RingCall::Read { ranges, offset: offset + from })
        }
        Action::Write { offset, ranges } => {
            let (ranges, len) = cut(ranges, from, job.len, slice);
            if image.is_guarded(offset + from, len) {
                return None;
            }
            (CallKind::Write { from, len }, RingCall::Write { ranges, offset: offset + from })
        }
        Action::Discard { offset, len } => allocate(PUNCH, *offset, *len),
        Action::WriteZeroes { offset, len, unmap } => {
            allocate(if *unmap && discard { PUNCH } else { ZERO }, *offset, *len)
        }
        Action::Flush | Action::Id { .. } | Action::Refuse(_) => return None,
    })
}

/// Records in `job` that its next call has been submitted.
pub const fn taken(job: &mut Job, kind: CallKind) {
    job.calls += 1;
    match kind {
        CallKind::Read { len, .. } | CallKind::Write { len, .. } | CallKind::Allocate { len, .. } => job.begun += len,
        CallKind::Flush => job.flush = false,
    }
}

/// Records in `job` that a call has completed with `result`. The calling thread does the part that the ring has not done, and the result of
/// that part counts. A flush is not repeated, because the kernel reports a loss once.
pub fn completed(job: &mut Job, kind: CallKind, result: io::Result<u32>, image: &Image, ram: &GuestRam) {
    job.calls -= 1;
    if kind.loses(&result) {
        image.note_lost();
    }
    // Most requests have one slice, which the ring has done completely.
    let whole = |len: u64| len == job.len && result.as_ref().is_ok_and(|count| u64::from(*count) == len);
    let mut slice = Vec::new();
    let done = match (&job.request.action, kind) {
        (Action::Read { ranges, .. }, CallKind::Read { len, .. }) if whole(len) => {
            guest_io::note_written(ram, ranges, len);
            Ok(())
        }
        (Action::Write { .. }, CallKind::Write { len, .. }) if whole(len) => Ok(()),
        (Action::Read { offset, ranges }, CallKind::Read { from, len }) => {
            let (ranges, _) = cut(ranges, from, from + len, &mut slice);
            let count = note_read(ram, ranges, &result);
            let rest: Vec<_> = behind(ranges, count).collect();
            if rest.is_empty() { Ok(()) } else { image.read(ram, &rest, offset + from + count) }
        }
        (Action::Write { offset, ranges }, CallKind::Write { from, len }) => {
            let count = result.map_or(0, u64::from);
            let (ranges, _) = cut(ranges, from, from + len, &mut slice);
            let rest: Vec<_> = behind(ranges, count).collect();
            if rest.is_empty() { Ok(()) } else { image.write(ram, &rest, offset + from + count) }
        }
        (_, CallKind::Flush) => image.flushed(|| result.map(|_| ())),
        (_, CallKind::Allocate { from, .. }) => {
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

/// Records for the dirty log what a read on the ring has written, and returns the number of valid bytes. A read that failed may have
/// written any of its ranges.
fn note_read(ram: &GuestRam, ranges: &[GuestRange], result: &io::Result<u32>) -> u64 {
    let count = result.as_ref().map_or(0, |count| u64::from(*count));
    guest_io::note_written(ram, ranges, if result.is_ok() { count } else { u64::MAX });
    count
}

/// Records an abandoned call for the dirty log: a read may have written, or may still write, any part of its slice.
pub fn note_abandoned(ram: &GuestRam, job: Option<&Job>, kind: CallKind) {
    if let (Some(Action::Read { ranges, .. }), CallKind::Read { from, len }) =
        (job.map(|job| &job.request.action), kind)
    {
        let mut slice = Vec::new();
        guest_io::note_written(ram, cut(ranges, from, from + len, &mut slice).0, u64::MAX);
    }
}
