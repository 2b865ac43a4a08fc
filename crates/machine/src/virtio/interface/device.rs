//! What a device is to its transport.

use super::{ConfigInterrupt, StopFlag, VirtQueue, WorkerError};
use crate::SetupError;
use kvm_accel::cancel::Cancel;
use rustix::event::PollFd;

/// A kind of device: what the driver sees of it before it is at work. Called on vCPU threads, concurrently.
pub trait VirtioDevice: Send + Sync {
    /// A short name, for messages and for the device's thread: `virtio-rng`.
    fn name(&self) -> &'static str;
    /// The device ID of section 5, such as `VIRTIO_ID_RNG`.
    fn id(&self) -> u32;
    /// The feature bits it offers beside those of the transport and of the queues, which are added.
    fn features(&self) -> u64;
    /// The largest size of each queue, powers of 2.
    fn queues(&self) -> &[u16];
    /// Fills `data` with the configuration space from `offset` on, zeroes beyond its end.
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }
    /// Stores to the configuration space; the driver may do so at any time.
    fn write_config(&self, _offset: u64, _data: &[u8]) {}
    /// Waits until what the device has started outside this process is ready. The board calls this last, before the guest runs, so that
    /// it starts while the rest of the machine is built.
    ///
    /// # Errors
    /// When it has not started; [`SetupError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    fn wait_until_started(&self, _cancel: &Cancel) -> Result<(), SetupError> {
        Ok(())
    }
    /// The driver is ready: makes what works on the queues. Must not block, since a vCPU waits.
    fn activate(&self, driver: Driver) -> Box<dyn Worker>;
}

/// Fills `data` with a configuration space from `offset` on, zeroes beyond its end.
pub(in crate::virtio) fn read_space(space: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
    let len = rest.len().min(data.len());
    data[..len].copy_from_slice(&rest[..len]);
    data[len..].fill(0);
}

/// What the driver has set up.
pub struct Driver {
    /// The features both sides have.
    pub features: u64,
    /// The queues by their number. One that the driver does not use has nothing in it.
    pub queues: Vec<VirtQueue>,
    /// Tells the driver that the configuration space has changed.
    pub config: ConfigInterrupt,
    /// Asks the worker to return to its thread.
    pub stop: StopFlag,
}

/// A device at work, on its own thread. The thread drops the worker at a reset, after an error or a panic, and at the machine's end.
///
/// No call may keep the thread for more than about 5 ms without a look at [`Driver::stop`]. A call that an error of
/// [`HostError::is_transient`](super::HostError::is_transient) ended is repeated, so such an error leaves the worker as it was.
pub trait Worker: Send {
    /// Works on a queue. The driver has put something into it, or may have.
    ///
    /// # Errors
    /// [`WorkerError`]: the worker cannot continue.
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError>;

    /// Names the queue with which the last call stopped early: because it had worked long enough, or because [`Driver::stop`] is set. The
    /// thread looks at its commands and then calls [`Worker::notified`] for this queue again.
    fn unfinished(&self) -> Option<usize> {
        None
    }

    /// Adds what the worker waits for beside its queues. Called before each wait, so the list may change.
    fn sources<'a>(&'a self, _poll: &mut Vec<PollFd<'a>>) {}

    /// Works on the source that [`Worker::sources`] added at this position, which has become ready.
    ///
    /// # Errors
    /// As [`Worker::notified`].
    fn ready(&mut self, _source: usize) -> Result<(), WorkerError> {
        Ok(())
    }

    /// Returns what to wait for until nothing is in flight that may write to guest memory or to the host's files; `None` when nothing
    /// is. While the machine pauses, the thread calls [`Worker::drain`] each time that this is ready, and acknowledges the pause when
    /// this returns `None`.
    fn in_flight(&self) -> Option<PollFd<'_>> {
        None
    }

    /// Completes what has finished, and begins nothing new.
    ///
    /// # Errors
    /// As [`Worker::notified`].
    fn drain(&mut self) -> Result<(), WorkerError> {
        Ok(())
    }
}
