//! Stops and pauses all virtio transports of a board together.

use crate::virtio::{Mmio, Unanswered, WorkerError};
use kvm_accel::{Event, EventSink, Warning, WarningCode};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a reset, a wake-up or the end of a machine waits for the I/O threads of all devices together. A disk waits
/// up to a second for the kernel to cancel its requests in flight. More time is needed only if a thread is blocked in
/// the host's kernel.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Lists the devices whose threads did not finish their work in time, because the host's kernel has not completed an
/// operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unquiet {
    devices: Vec<(&'static str, usize)>,
}

impl Unquiet {
    /// Returns the name and the index of each device, in the order of
    /// [`BoardConfig::virtio`](super::BoardConfig::virtio).
    #[must_use]
    pub fn devices(&self) -> &[(&'static str, usize)] {
        &self.devices
    }

    /// Calls `wait` for each transport, and collects the transports that did not answer.
    pub(super) fn collect(virtio: &[Arc<Mmio>], wait: impl Fn(&Mmio) -> Result<(), Unanswered>) -> Result<(), Self> {
        let late = virtio.iter().enumerate().filter(|(_, transport)| wait(transport).is_err());
        let devices: Vec<_> = late.map(|(index, transport)| (transport.name(), index)).collect();
        if devices.is_empty() { Ok(()) } else { Err(Self { devices }) }
    }
}

impl fmt::Display for Unquiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("I/O is still in flight in the host's kernel after the deadline, on the thread of")?;
        for (place, (name, index)) in self.devices.iter().enumerate() {
            write!(f, "{} {name} (virtio device {index})", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Resets devices: asks all of them to stop, then waits.
pub fn stop(virtio: &[Arc<Mmio>], deadline: Instant) -> Result<(), Unquiet> {
    virtio.iter().for_each(|transport| transport.request_stop());
    Unquiet::collect(virtio, |transport| transport.reset(deadline))
}

/// Returns the function that emits a warning when a device needs a reset by its driver.
pub fn needs_reset(name: &'static str, sink: &Arc<dyn EventSink>) -> Box<dyn Fn(&WorkerError) + Send + Sync> {
    let sink = Arc::clone(sink);
    Box::new(move |error| {
        let (code, cause) = match error {
            WorkerError::Driver(_) => (WarningCode::DeviceNeedsReset, "because of its driver"),
            WorkerError::Host(_) => (WarningCode::DeviceHostError, "because the host failed"),
        };
        sink.emit(Event::Warning(Warning { code, message: format!("{name} needs a reset, {cause}: {error}") }));
    })
}

#[cfg(test)]
#[path = "transports_tests.rs"]
mod tests;
