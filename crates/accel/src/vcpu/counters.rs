//! The counters of the vCPU threads.

use super::{bus_lock, notify};
use crate::stats::{ExitCounts, ExitKind};
use std::sync::Arc;

/// The counters of one machine. Cloning is cheap. All clones share the same counters. Reading takes no lock and works
/// after the machine has ended.
#[derive(Clone, Debug)]
pub struct Counters {
    pub(super) exits: Arc<Vec<ExitCounts>>,
    pub(super) notify: Arc<notify::Shared>,
    /// `None` unless bus locks are limited.
    pub(super) bus_locks: Option<Arc<bus_lock::Shared>>,
}

impl Counters {
    /// Returns the number of exits of this kind so far, over all vCPUs.
    #[must_use]
    pub fn exits(&self, kind: ExitKind) -> u64 {
        self.exits.iter().map(|counts| counts.get(kind)).sum()
    }

    /// Returns the number of notify exits so far, including injected ones, for each vCPU.
    #[must_use]
    pub fn notify_totals(&self) -> Vec<u64> {
        self.notify.totals()
    }

    /// Returns the number of bus locks so far, for each vCPU. Empty if bus locks are not limited.
    #[must_use]
    pub fn bus_lock_totals(&self) -> Vec<u64> {
        self.bus_locks.as_ref().map(|locks| locks.totals()).unwrap_or_default()
    }
}
