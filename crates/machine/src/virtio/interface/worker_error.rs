//! Why a worker cannot continue: the guest broke the device's protocol, or the host failed.

use rustix::io::Errno;
use std::any::Any;
use std::fmt;
use std::io;

/// The driver broke a rule of the queues or of its device. The device then needs a reset; the machine continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DriverError(pub String);

impl From<virtio_queue::Error> for DriverError {
    fn from(error: virtio_queue::Error) -> Self {
        Self(error.to_string())
    }
}

/// The host failed: the kernel refused a call, or a worker's code panicked. The guest is not at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    what: String,
    error: String,
    errno: Option<i32>,
    remedy: &'static str,
}

impl HostError {
    /// An error of the kernel. `what` says what failed, such as `io_uring could not take requests`; `remedy` is a sentence that says
    /// what to do.
    #[must_use]
    pub fn new(what: impl Into<String>, error: &io::Error, remedy: &'static str) -> Self {
        Self { what: what.into(), error: error.to_string(), errno: error.raw_os_error(), remedy }
    }

    /// A panic in a device's code, from what `catch_unwind` returned.
    pub(in crate::virtio) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let remedy = "This is a bug in kvm-accel: please report it with this message.";
        Self { what: "the device's code panicked".into(), error: text.into(), errno: None, remedy }
    }

    /// The kernel's error number, if the kernel refused a call.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Whether the same call may succeed a moment later: memory, descriptors or room in a queue of the kernel were missing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        const TRANSIENT: [Errno; 7] =
            [Errno::AGAIN, Errno::INTR, Errno::NOMEM, Errno::BUSY, Errno::NOBUFS, Errno::MFILE, Errno::NFILE];
        self.errno.is_some_and(|errno| TRANSIENT.iter().any(|transient| transient.raw_os_error() == errno))
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.what, self.error, self.remedy)
    }
}

impl std::error::Error for HostError {}

/// Why a worker cannot continue. Its device does nothing until the driver resets it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// The guest's driver is at fault.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The host is at fault.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<virtio_queue::Error> for WorkerError {
    fn from(error: virtio_queue::Error) -> Self {
        Self::Driver(error.into())
    }
}

impl WorkerError {
    /// The error of a driver that did `what`.
    pub(in crate::virtio) fn driver(what: impl fmt::Display) -> Self {
        Self::Driver(DriverError(what.to_string()))
    }
}
