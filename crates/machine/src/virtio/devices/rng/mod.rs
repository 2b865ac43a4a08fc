//! The entropy device (section 5.4): fills buffers of the driver with random bytes.
//!
//! [`Source`] supplies the bytes; it never blocks. A request waits while the source has no bytes, because section 5.4.6.1 requires at least
//! one byte in each used buffer.

mod source;
#[cfg(test)]
mod tests;

use crate::virtio::interface::exclusive::{Claim, Exclusive};
use crate::virtio::interface::{Driver, HostError, StopFlag, VirtQueue, VirtioDevice, Worker, WorkerError};
use crate::virtio::throttle::{
    Direction, ExclusiveThrottle, Rate, Rates, Throttle, ThrottleClaim, ThrottleConfig, timer,
};
use crate::{MachineConfigError, Sources};
use source::{Got, Source};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

/// The size of QEMU's queue.
const QUEUES: [u16; 1] = [8];
/// The most bytes for one request. A larger buffer is filled in part, which section 5.4.6.1 allows.
const LARGEST: usize = 64 << 10;
/// The most requests before the worker returns to its thread.
const STRETCH: usize = 16;
/// How long to wait if poll(2) reports a source ready, but it has no bytes. `/dev/hwrng` is such a source: its driver does not implement
/// poll.
const PAUSE: Duration = Duration::from_millis(2);

/// `virtio-rng`: supplies entropy of the host.
#[derive(Debug)]
pub struct Rng {
    source: Exclusive<Source>,
    throttle: ExclusiveThrottle,
}

impl Rng {
    /// Creates a device. `source` is a regular file, a character device such as `/dev/urandom`, a FIFO, or a Unix stream socket, to which
    /// the device connects. `limit` is the most bytes per period on average.
    ///
    /// A request waits while a character device, a FIFO or a socket has no bytes. A regular file is read once, from start to end. At its
    /// end, or when the peer of a socket closes, the device fails with a [`HostError`]. Bytes are never repeated.
    ///
    /// # Errors
    /// When the file cannot be opened or has another type, or the limit is out of range.
    pub fn new(source: &Path, limit: Option<(u64, Duration)>) -> Result<Self, MachineConfigError> {
        Self::from_source(Source::open(source)?, limit)
    }

    fn from_source(source: Source, limit: Option<(u64, Duration)>) -> Result<Self, MachineConfigError> {
        let bytes = limit.map(|(bytes, period)| rate(bytes, period)).transpose()?;
        let total = Rates { bytes, operations: None };
        let throttle = Throttle::new(&ThrottleConfig { total, ..Default::default() }).map_err(|error| {
            let message = format!("cannot create the timer of virtio-rng's rate limit: {error}");
            MachineConfigError::new("rng", message, "Raise the limit on open files (ulimit -n).")
        })?;
        Ok(Self { source: Exclusive::new(source), throttle: ExclusiveThrottle::new(throttle) })
    }
}

/// Returns the rate in bytes per second, at least 1.
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

    fn activate(&self, Driver { queues, stop, .. }: Driver) -> Box<dyn Worker> {
        let (source, throttle) = (self.source.claim(), self.throttle.claim());
        Box::new(Requests { source, throttle, waiting: None, admitted: false, more: false, queues, stop })
    }
}

/// The event for which the queue's next request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Throttle,
    Source,
}

struct Requests {
    source: Claim<Source>,
    throttle: ThrottleClaim,
    waiting: Option<Waiting>,
    /// The throttle has admitted the next request.
    admitted: bool,
    /// The last call served the most requests allowed, and more may be available.
    more: bool,
    queues: Vec<VirtQueue>,
    stop: StopFlag,
}

impl Worker for Requests {
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError> {
        let Some(queue) = self.queues.get_mut(queue) else { return Ok(()) };
        self.more = false;
        for _ in 0..STRETCH {
            if self.stop.is_set() {
                break;
            }
            let Some(chain) = queue.pop()? else { return Ok(()) };
            let mut writer = chain.writer()?;
            let mut bytes = vec![0; writer.available_bytes().min(LARGEST)];
            if bytes.is_empty() {
                return Err(WorkerError::driver("a request for random bytes has no writable buffer"));
            }
            if !self.admitted {
                match self.throttle.admit(Direction::Read, bytes.len() as u64) {
                    Ok(admitted) => self.admitted = admitted,
                    Err(error) => {
                        queue.undo_pop();
                        return Err(timer(&error).into());
                    }
                }
                if !self.admitted {
                    queue.undo_pop();
                    self.waiting = Some(Waiting::Throttle);
                    return Ok(());
                }
            }
            match self.source.get_mut().map_or(Ok(Got::Nothing), |source| source.read(&mut bytes)) {
                Ok(Got::Bytes(read)) => {
                    writer.write_all(&bytes[..read]).map_err(WorkerError::driver)?;
                    queue.push(chain.head(), u32::try_from(read).unwrap_or(0))?;
                    self.admitted = false;
                }
                Ok(Got::Nothing) => {
                    queue.undo_pop();
                    self.waiting = Some(Waiting::Source);
                    return Ok(());
                }
                Err(error) => {
                    queue.undo_pop();
                    let what = "cannot read the source of virtio-rng";
                    return Err(
                        HostError::new(what, &error, "Use a source that does not end, such as /dev/urandom.").into()
                    );
                }
            }
        }
        self.more = true;
        Ok(())
    }

    fn unfinished(&self) -> Option<usize> {
        self.more.then_some(0)
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        let fd = match self.waiting {
            Some(Waiting::Throttle) => self.throttle.source(),
            Some(Waiting::Source) => self.source.get().map(Source::readable),
            None => None,
        };
        // There is at most one source, so its number does not matter.
        sources.add(0, fd);
    }

    fn ready(&mut self, _: usize) -> Result<(), WorkerError> {
        let waited = self.waiting.take();
        if waited == Some(Waiting::Throttle) {
            self.throttle.fired();
        }
        self.notified(0)?;
        if waited == Some(Waiting::Source) && self.waiting == waited && !self.stop.is_set() {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}
