//! What the vCPU threads count.

use super::{bus_lock, notify};
use crate::stats::{ExitCounts, ExitKind};
use std::sync::Arc;

/// The counters of one machine. Cloning is cheap and all clones are the same; reading takes no lock and is possible after the
/// machine has ended.
#[derive(Clone, Debug)]
pub struct Counters {
    pub(super) exits: Arc<Vec<ExitCounts>>,
    pub(super) notify: Arc<notify::Shared>,
    /// Only where bus locks are limited.
    pub(super) bus_locks: Option<Arc<bus_lock::Shared>>,
}

impl Counters {
    /// Exits of this kind so far, over all vCPUs.
    #[must_use]
    pub fn exits(&self, kind: ExitKind) -> u64 {
        self.exits.iter().map(|counts| counts.get(kind)).sum()
    }

    /// Notify exits so far, drills included, for each vCPU.
    #[must_use]
    pub fn notify_totals(&self) -> Vec<u64> {
        self.notify.totals()
    }

    /// Bus locks so far, for each vCPU; empty where they are not limited.
    #[must_use]
    pub fn bus_lock_totals(&self) -> Vec<u64> {
        self.bus_locks.as_ref().map(|locks| locks.totals()).unwrap_or_default()
    }
}
