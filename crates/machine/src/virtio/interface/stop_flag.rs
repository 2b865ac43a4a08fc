//! The flag by which a transport asks its device's worker to return.

use super::sync::{Arc, AtomicU8, Ordering};

/// The worker is about to be dropped, at a reset or with the machine.
const STOP: u8 = 1;
/// The machine is pausing.
const PAUSE: u8 = 1 << 1;

/// Asks a worker to return to its thread. The transport and the worker share it.
///
/// The transport sets the flag before it sends the command, so that a worker does not have to return to receive the command. A worker
/// looks at the flag between requests and between slices of at most 1 MiB. While the flag is set, the worker begins nothing new and
/// returns; [`Worker::unfinished`](super::Worker::unfinished) then names the queue to continue with after a pause.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicU8>);

impl StopFlag {
    /// True while the worker has to return.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    pub(in crate::virtio) fn set_stop(&self, stop: bool) {
        self.set(STOP, stop);
    }

    pub(in crate::virtio) fn set_pause(&self, pause: bool) {
        self.set(PAUSE, pause);
    }

    fn set(&self, bit: u8, value: bool) {
        if value {
            self.0.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}
