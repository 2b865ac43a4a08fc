//! Calls in flight that a worker leaves to the next worker when it ends.

use super::image::Image;
use super::job::Job;
use super::ring_call::{Call, CallKind, note_abandoned};
use super::slab::Slab;
use kvm_accel::GuestRam;
use kvm_accel::guest_io::GuestRing;
use rustix::event::{PollFd, PollFlags};
use std::time::Duration;

/// How long the end of a worker waits for the kernel to cancel reads and writes.
const CANCEL_WITHIN: Duration = Duration::from_secs(1);

/// The ring of a worker that has ended, with the calls that the kernel has not completed.
#[derive(Debug)]
pub struct Leftover {
    ring: GuestRing,
    /// The kind of each call, by token.
    kinds: Vec<Option<CallKind>>,
}

impl Leftover {
    /// Cancels the calls of `ring`. Returns the calls that the kernel has not cancelled, if there are any.
    pub fn cancel(
        mut ring: GuestRing,
        calls: &mut Slab<Call>,
        jobs: &Slab<Job>,
        image: &Image,
        ram: &GuestRam,
    ) -> Option<Self> {
        // The error can be ignored: the ring counts the calls in flight.
        let _ = ring.cancel(CANCEL_WITHIN, |token, result| {
            let call = usize::try_from(token).ok().and_then(|token| calls.remove(token));
            let Some(Call { job, kind }) = call else { return };
            if kind.loses(&result) {
                image.note_lost();
            }
            note_abandoned(ram, jobs.get(job), kind);
        });
        (ring.in_flight() > 0).then(|| {
            let kinds = calls.iter().map(|call| {
                let call = call?;
                note_abandoned(ram, jobs.get(call.job), call.kind);
                Some(call.kind)
            });
            let kinds = kinds.collect();
            Self { ring, kinds }
        })
    }

    /// Takes the completed calls. Returns true while a call is still in flight.
    pub fn is_busy(&mut self, image: &Image) -> bool {
        while let Some((token, result)) = self.ring.completed() {
            let kind = usize::try_from(token).ok().and_then(|token| *self.kinds.get(token)?);
            if kind.is_some_and(|kind| kind.loses(&result)) {
                image.note_lost();
            }
        }
        self.ring.in_flight() > 0
    }

    /// Returns a descriptor that becomes readable when a call has completed.
    pub fn source(&self) -> PollFd<'_> {
        PollFd::new(&self.ring, PollFlags::IN)
    }

    /// Returns [`Leftover::source`] while a call is in flight.
    pub fn in_flight(&self) -> Option<PollFd<'_>> {
        (self.ring.in_flight() > 0).then(|| self.source())
    }
}
