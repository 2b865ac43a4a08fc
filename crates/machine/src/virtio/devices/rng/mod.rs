//! The entropy device (section 5.4): buffers that the driver wants filled with random bytes.
//!
//! [`Source`] is where the bytes come from; it never blocks. A request waits while the source has nothing, because section 5.4.6.1
//! wants at least one byte in each answer.

mod source;
#[cfg(test)]
mod tests;

use crate::MachineConfigError;
use crate::virtio::interface::lease::{Holder, Lease};
use crate::virtio::interface::{Driver, HostError, StopFlag, VirtQueue, VirtioDevice, Worker, WorkerError};
use crate::virtio::throttle::{Direction, Rate, Rates, Throttle, ThrottleConfig, ThrottleHolder, ThrottleLease, timer};
use rustix::event::PollFd;
use source::{Got, Source};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

/// QEMU's size.
const QUEUES: [u16; 1] = [8];
/// Most bytes of one answer. A larger buffer is answered in part, which section 5.4.6.1 allows.
const LARGEST: usize = 64 << 10;
/// Requests at a stretch, before the transport has its turn.
const STRETCH: usize = 16;
/// How long a source that poll(2) calls ready and that gives nothing is left alone. `/dev/hwrng` is one: its driver has no poll.
const PAUSE: Duration = Duration::from_millis(2);

/// `virtio-rng`: entropy of the host.
#[derive(Debug)]
pub struct Rng {
    source: Holder<Source>,
    throttle: ThrottleHolder,
}

impl Rng {
    /// Entropy from a regular file, a character device such as `/dev/urandom`, a FIFO, or a Unix stream socket, to which this connects.
    /// With a limit, so many bytes in such a time on average.
    ///
    /// A request waits while a device, a FIFO or a socket has nothing. A regular file is used once, from its start to its end; then the
    /// device fails with a [`HostError`], as after the other end of a socket has closed it. Bytes are never repeated.
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
            let message = format!("the rate limit of virtio-rng has no timer: {error}");
            MachineConfigError::new("rng", message, "Raise the limit on open files (ulimit -n).")
        })?;
        Ok(Self { source: Holder::new(source), throttle: ThrottleHolder::new(throttle) })
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

    fn activate(&self, Driver { queues, stop, .. }: Driver) -> Box<dyn Worker> {
        let (source, throttle) = (self.source.lease(), self.throttle.lease());
        Box::new(Requests { source, throttle, waiting: None, admitted: false, more: false, queues, stop })
    }
}

/// What the queue's next request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Throttle,
    Source,
}

struct Requests {
    source: Lease<Source>,
    throttle: ThrottleLease,
    waiting: Option<Waiting>,
    /// The throttle has let the next request pass.
    admitted: bool,
    /// There was a stretch of requests, and there may be more.
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
                    let what = "the source of virtio-rng cannot be read";
                    return Err(
                        HostError::new(what, &error, "Give a source that does not end, such as /dev/urandom.").into()
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

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        match self.waiting {
            Some(Waiting::Throttle) => poll.extend(self.throttle.source()),
            Some(Waiting::Source) => poll.extend(self.source.get().map(Source::readable)),
            None => {}
        }
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
