//! A request, from the queue to its completion.

use super::request::{Action, Request, Status};
use crate::virtio::interface::{DriverError, VirtQueue, WorkerError};
use kvm_accel::GuestRam;
use kvm_accel::guest_io::{GuestRange, total};
use vm_memory::{Bytes, GuestAddress};

/// A request that the device has taken from its queue.
pub struct Job {
    /// The head of the descriptor chain.
    head: u16,
    pub request: Request,
    /// The job is in the list of jobs that wait for their turn.
    pub queued: bool,
    /// Bytes of the request for which slices have begun.
    pub begun: u64,
    /// Length of the request in bytes.
    pub len: u64,
    /// Calls on the ring for this request that have not completed.
    pub calls: u32,
    /// The ring cannot do this request; the I/O thread does it by system calls.
    pub plain: bool,
    /// The medium has to be flushed after the last slice.
    pub flush: bool,
    pub status: Status,
}

impl Job {
    /// Creates a job that has not begun. With `durable`, a write completes only when it is on the medium.
    pub fn new(head: u16, request: Request, durable: bool) -> Self {
        let (len, flush) = match &request.action {
            Action::Read { ranges, .. } => (total(ranges), false),
            Action::Write { ranges, .. } => (total(ranges), durable),
            Action::Discard { len, .. } | Action::WriteZeroes { len, .. } => (*len, durable),
            Action::Flush => (0, true),
            Action::Id { .. } | Action::Refuse(_) => (0, false),
        };
        Self { head, request, queued: false, begun: 0, len, calls: 0, plain: false, flush, status: Status::Ok }
    }

    /// True if a slice or the flush of this job may begin now. Slices of data may be in flight together. A discard or write-zeroes extent
    /// waits for the previous extent, which may fail, and a flush waits for all slices.
    pub const fn may_begin(&self) -> bool {
        let data = matches!(self.request.action, Action::Read { .. } | Action::Write { .. });
        (self.begun < self.len && data) || (self.calls == 0 && (self.begun < self.len || self.flush))
    }

    /// Skips the rest of this job after a failure.
    pub const fn abandon_rest(&mut self) {
        (self.begun, self.flush) = (self.len, false);
    }

    /// Writes the status of the request, and puts the chain into the used ring.
    pub fn answer(&self, queue: &mut VirtQueue) -> Result<(), WorkerError> {
        let Request { action, status: address } = &self.request;
        let written = match action {
            Action::Read { .. } if self.status == Status::Ok => self.len,
            Action::Id { ranges } if self.status == Status::Ok => total(ranges),
            _ => 0,
        };
        let status = queue.memory().write_obj(self.status.byte(), *address);
        status.map_err(|error| DriverError(format!("the status of a block request: {error}")))?;
        // A chain holds less than 4 GiB.
        Ok(queue.push(self.head, u32::try_from(written + 1).unwrap_or(u32::MAX))?)
    }
}

/// Writes the serial number of a disk to these ranges of guest memory.
pub fn identify(serial: &[u8], ram: &GuestRam, ranges: &[GuestRange]) -> Status {
    let mut rest = serial;
    for range in ranges {
        let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(rest.len());
        if ram.write_slice(&rest[..len], GuestAddress(range.address)).is_err() {
            return Status::IoError;
        }
        rest = &rest[len..];
    }
    Status::Ok
}
