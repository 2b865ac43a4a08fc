//! What a device is to its transport.

use super::{ConfigInterrupt, VirtQueue};
use crate::SetupError;
use kvm_accel::cancel::Cancel;
use rustix::event::PollFd;
use std::fmt;

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
pub(super) fn read_space(space: &[u8], offset: u64, data: &mut [u8]) {
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
}

/// A device at work, on its own thread. It is dropped at a reset and at the end.
pub trait Worker: Send {
    /// The driver has put something into this queue, or may have.
    ///
    /// # Errors
    /// When the queue cannot be followed.
    fn notified(&mut self, queue: usize) -> Result<(), Malformed>;

    /// The queue in which the call before has left more than the worker takes at a stretch. Its doorbell is rung again, so that whoever asks something of
    /// the thread has their turn before: a driver that is as fast as its device holds nobody up.
    fn unfinished(&self) -> Option<usize> {
        None
    }

    /// Adds what else there is to wait for. Asked before each wait, so that it may change.
    fn sources<'a>(&'a self, _poll: &mut Vec<PollFd<'a>>) {}

    /// Something has happened to what [`Worker::sources`] gave in this place.
    ///
    /// # Errors
    /// As [`Worker::notified`].
    fn ready(&mut self, _source: usize) -> Result<(), Malformed> {
        Ok(())
    }
}

/// The driver broke a rule of the queues. The device then needs a reset; the machine goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<virtio_queue::Error> for Malformed {
    fn from(error: virtio_queue::Error) -> Self {
        Self(error.to_string())
    }
}
