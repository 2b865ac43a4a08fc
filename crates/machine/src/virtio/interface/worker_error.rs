//! Errors after which a worker cannot continue: the guest's driver violated the protocol, or the host failed.

use rustix::io::Errno;
use std::any::Any;
use std::fmt;
use std::io;

/// The driver violated a rule of the queues or of its device. The device needs a reset; the machine continues.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DriverError(pub String);

impl From<virtio_queue::Error> for DriverError {
    fn from(error: virtio_queue::Error) -> Self {
        Self(error.to_string())
    }
}

/// The host failed: a system call failed, or a worker's code panicked. The guest is not at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    what: String,
    error: String,
    errno: Option<i32>,
    remedy: &'static str,
}

impl HostError {
    /// Creates an error from a failed system call. `what` is what failed, such as `io_uring could not take requests`; `remedy` is a
    /// sentence with what to do.
    #[must_use]
    pub fn new(what: impl Into<String>, error: &io::Error, remedy: &'static str) -> Self {
        Self { what: what.into(), error: error.to_string(), errno: error.raw_os_error(), remedy }
    }

    /// Creates an error from the payload that `catch_unwind` returned.
    pub(in crate::virtio) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        let remedy = "This is a bug in kvm-accel: please report it with this message.";
        Self { what: "the device's code panicked".into(), error: text.into(), errno: None, remedy }
    }

    /// Returns the errno, if a system call failed.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// True if the same call may succeed a moment later, because the kernel was short of memory, descriptors or queue space.
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

/// The reason why a worker cannot continue. The device does nothing until the driver resets it.
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
    /// Creates the error of a driver that violated the protocol by `what`.
    pub(in crate::virtio) fn driver(what: impl fmt::Display) -> Self {
        Self::Driver(DriverError(what.to_string()))
    }
}
