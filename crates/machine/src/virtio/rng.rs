//! The entropy device (section 5.4): buffers that the driver wants filled with random bytes.

use super::throttle::{Direction, Rate, Rates, Throttle, ThrottleConfig, ThrottleHolder, ThrottleLease};
use super::{Driver, Malformed, VirtQueue, VirtioDevice, Worker};
use crate::MachineConfigError;
use rustix::event::PollFd;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

/// QEMU's size.
const QUEUES: [u16; 1] = [8];
/// A request gets this much at most: no guest keeps the thread for long.
const LARGEST: usize = 64 << 10;
/// Requests at a stretch, before the transport has its turn.
const STRETCH: usize = 16;

/// `virtio-rng`: entropy of the host.
#[derive(Debug)]
pub struct Rng {
    source: Arc<File>,
    throttle: ThrottleHolder,
}

impl Rng {
    /// Entropy from a file, usually `/dev/urandom`; with a limit, so many bytes in such a time on average.
    ///
    /// # Errors
    /// When the file cannot be opened, or the limit is none.
    pub fn new(source: &Path, limit: Option<(u64, Duration)>) -> Result<Self, MachineConfigError> {
        let source = File::open(source).map_err(|error| {
            let message = format!("{} cannot be opened for random bytes: {error}", source.display());
            MachineConfigError::new("rng", message, "Take /dev/urandom.")
        })?;
        let bytes = limit.map(|(bytes, period)| rate(bytes, period)).transpose()?;
        let total = Rates { bytes, operations: None };
        let throttle = Throttle::new(&ThrottleConfig { total, ..Default::default() }).map_err(|error| {
            let message = format!("the rate limit of virtio-rng has no timer: {error}");
            MachineConfigError::new("rng", message, "Raise the limit on open files (ulimit -n).")
        })?;
        Ok(Self { source: Arc::new(source), throttle: ThrottleHolder::new(throttle) })
    }
}

/// The rate in bytes a second, at least 1.
fn rate(bytes: u64, period: Duration) -> Result<Rate, MachineConfigError> {
    let second = u128::from(bytes) * 1000 / period.as_millis().max(1);
    Rate::new("rng", u64::try_from(second).unwrap_or(u64::MAX).max(1))
}

impl VirtioDevice for Rng {
    fn name(&self) -> &'static str {
        "virtio-rng"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        let (source, throttle) = (Arc::clone(&self.source), self.throttle.lease());
        Box::new(Requests { source, throttle, waiting: false, more: false, queues: driver.queues })
    }
}

struct Requests {
    source: Arc<File>,
    throttle: ThrottleLease,
    /// A request waits for the throttle.
    waiting: bool,
    /// There was a stretch of them, and may be more.
    more: bool,
    queues: Vec<VirtQueue>,
}

impl Worker for Requests {
    fn notified(&mut self, queue: usize) -> Result<(), Malformed> {
        let Some(queue) = self.queues.get_mut(queue) else { return Ok(()) };
        self.more = false;
        for _ in 0..STRETCH {
            let Some(chain) = queue.pop()? else { return Ok(()) };
            let mut writer = chain.writer()?;
            let mut bytes = vec![0; writer.available_bytes().min(LARGEST)];
            // A timer that cannot be set limits nothing.
            if !self.throttle.admit(Direction::Read, bytes.len() as u64).unwrap_or(true) {
                queue.undo_pop();
                self.waiting = true;
                return Ok(());
            }
            // A source that has nothing gives nothing: the driver asks again.
            let read = self.source.as_ref().read(&mut bytes).unwrap_or(0);
            let written = writer.write(&bytes[..read]).map_err(|error| Malformed(error.to_string()))?;
            queue.push(chain.head(), u32::try_from(written).unwrap_or(0))?;
        }
        self.more = true;
        Ok(())
    }

    fn unfinished(&self) -> Option<usize> {
        self.more.then_some(0)
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        poll.extend(self.throttle.source().filter(|_| self.waiting));
    }

    fn ready(&mut self, _: usize) -> Result<(), Malformed> {
        self.throttle.fired();
        self.waiting = false;
        self.notified(0)
    }
}
