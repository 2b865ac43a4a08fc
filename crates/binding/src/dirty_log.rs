//! Which pages the guest writes.

use crate::error::BindingError;
use crate::event::BindingEvent;
use crate::machine::BindingMachine;
use kvm_accel::dirty::DirtyPages;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::sync::Arc;

#[napi]
impl BindingMachine {
    /// Begins to note written pages.
    #[napi]
    pub fn start_dirty_log(&self) -> Option<BindingError> {
        let started = self.handle.with_board(|board| board.dirty_log().start());
        started.and_then(Result::err).map(BindingError::from)
    }

    /// Ends it.
    #[napi]
    pub fn stop_dirty_log(&self) -> Option<BindingError> {
        let stopped = self.handle.with_board(|board| board.dirty_log().stop());
        stopped.and_then(Result::err).map(BindingError::from)
    }

    /// Asks for the pages written since the last time; a `dirty-pages` event with this `id` has them. On a thread of its own, because
    /// the bitmap of a large guest takes milliseconds. False when there is no such thread, or no machine any more.
    #[napi]
    pub fn take_dirty_pages(&self, id: u32) -> bool {
        let Some(log) = self.handle.with_board(|board| board.dirty_log().clone()) else { return false };
        let queue = Arc::clone(self.handle.queue());
        let take = move || {
            queue.push(match log.take() {
                Ok(pages) => BindingEvent::DirtyPages { id, ranges: Some(ranges(&pages)), error: None },
                Err(error) => BindingEvent::DirtyPages { id, ranges: None, error: Some(error.into()) },
            });
        };
        std::thread::Builder::new().name("kvm-accel dirty".into()).spawn(take).is_ok()
    }

    /// Pages that each vCPU has dirtied so far; empty without dirty rings.
    #[napi]
    pub fn dirty_totals(&self) -> Either<Vec<i64>, BindingError> {
        let totals = self.handle.with_board(|board| board.dirty_log().vcpu_totals());
        match totals.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(totals) => Either::A(totals.into_iter().map(|total| i64::try_from(total).unwrap_or(i64::MAX)).collect()),
            Err(error) => Either::B(error.into()),
        }
    }
}

/// Start and length of each run, one after the other.
fn ranges(pages: &DirtyPages) -> Vec<f64> {
    // Guest physical addresses have 52 bits.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    pages.ranges().flat_map(|range| [range.start as f64, (range.end - range.start) as f64]).collect()
}
