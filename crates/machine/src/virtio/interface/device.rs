//! The interface between a device and its transport.

use super::{ConfigInterrupt, StopFlag, VirtQueue, WorkerError};
use crate::{SetupError, Sources};
use kvm_accel::cancel::Cancel;
use rustix::event::PollFd;

/// A device, as its driver sees it before activation. vCPU threads call the methods concurrently.
pub trait VirtioDevice: Send + Sync {
    /// A short name, for messages and for the name of the device's thread: `virtio-rng`.
    fn name(&self) -> &'static str;
    /// The device ID of section 5, such as `VIRTIO_ID_RNG`.
    fn id(&self) -> u32;
    /// The device-specific feature bits. The transport adds its own and those of the queues.
    fn features(&self) -> u64;
    /// The largest size of each queue, powers of 2.
    fn queues(&self) -> &[u16];
    /// Reads the configuration space at `offset` into `data`. Bytes beyond its end read as zero.
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }
    /// Writes to the configuration space. The driver may do so at any time.
    fn write_config(&self, _offset: u64, _data: &[u8]) {}
    /// Waits until a process that the device has started is ready. The board calls this last, just before the guest runs, so that the
    /// process starts up while the rest of the machine is built.
    ///
    /// # Errors
    /// When the process fails to start; [`SetupError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    fn wait_until_started(&self, _cancel: &Cancel) -> Result<(), SetupError> {
        Ok(())
    }
    /// Creates the worker that serves the queues, when the driver sets DRIVER_OK. Must not block, because a vCPU waits.
    fn activate(&self, driver: Driver) -> Box<dyn Worker>;
}

/// Reads a configuration space at `offset` into `data`. Bytes beyond its end read as zero.
pub(in crate::virtio) fn read_space(space: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
    let len = rest.len().min(data.len());
    data[..len].copy_from_slice(&rest[..len]);
    data[len..].fill(0);
}

/// The driver's set-up of the device, at DRIVER_OK.
pub struct Driver {
    /// The negotiated feature bits.
    pub features: u64,
    /// The queues by number. A queue that the driver has not enabled is always empty.
    pub queues: Vec<VirtQueue>,
    /// Notifies the driver of a change of the configuration space.
    pub config: ConfigInterrupt,
    /// Set while the worker has to return to its thread.
    pub stop: StopFlag,
}

/// The part of a device that runs on the device's I/O thread. The thread drops the worker at a reset, after an error or a panic, and at the
/// machine's end.
///
/// A call must check [`Driver::stop`] at least about every 5 ms. If a call fails with a transient error
/// ([`HostError::is_transient`](super::HostError::is_transient)), the thread repeats it, so such an error must leave the worker's state
/// unchanged.
pub trait Worker: Send {
    /// Serves a queue to which the driver has added buffers, or may have.
    ///
    /// # Errors
    /// [`WorkerError`]: the worker cannot continue.
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError>;

    /// Returns the queue with which the last call stopped early: because it had worked long enough, or because [`Driver::stop`] is set. The
    /// thread looks at its commands and then calls [`Worker::notified`] for this queue again.
    fn unfinished(&self) -> Option<usize> {
        None
    }

    /// Adds the descriptors for which the worker waits beside its queues, each with a number as its token. Called before each wait, so the
    /// list may change.
    fn sources<'a>(&'a self, _sources: &mut Sources<'a, usize>) {}

    /// Handles a descriptor that has become ready. `source` is its token in [`Worker::sources`].
    ///
    /// # Errors
    /// As [`Worker::notified`].
    fn ready(&mut self, _source: usize) -> Result<(), WorkerError> {
        Ok(())
    }

    /// Returns a descriptor to poll while an operation in flight may still write to guest memory or to the host's files; `None` when there
    /// is no such operation. While the machine pauses, the thread calls [`Worker::drain`] each time that the descriptor is ready, and
    /// acknowledges the pause when this function returns `None`.
    fn in_flight(&self) -> Option<PollFd<'_>> {
        None
    }

    /// Completes the operations that have finished, and begins no new ones.
    ///
    /// # Errors
    /// As [`Worker::notified`].
    fn drain(&mut self) -> Result<(), WorkerError> {
        Ok(())
    }
}
