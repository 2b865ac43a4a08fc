//! The socket device (section 5.10): streams between the guest and sockets of the host.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `key`: the epoll token of a socket.
//! - `packet`, `credit`, `connection`: the protocol, pure.
//! - `host`: the host's socket of a stream. Never waits.
//! - `handshake`: the line by which a host program requests a connection.
//! - `path`: the Unix sockets that host programs connect to and listen on.
//! - `ports`: listeners and connections of this process. Outlives the worker.
//! - `stream`: one connection with its socket.
//! - `sockets`: the epoll instance.
//! - `stream_table`: all streams, and the queue of those that have a packet for the guest.
//! - `unconnected`: sockets that belong to no connection.
//! - `mux`: connects packets to sockets.
//! - `worker`: the device's queues.

mod connection;
mod credit;
mod handshake;
mod host;
mod key;
mod mux;
mod packet;
mod path;
mod ports;
mod sockets;
mod stream;
mod stream_table;
#[cfg(test)]
mod tests;
mod unconnected;
mod worker;

pub use ports::{Accepted, Done, Listener};

use crate::virtio::interface::read_space;
use crate::virtio::interface::{Driver, HostError, VirtioDevice, Worker, WorkerError};
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use mux::Mux;
use path::HostPath;
use ports::{Connect, Ports};
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use worker::Streams;

/// The sizes of the receive, transmit and event queues, as in QEMU.
const QUEUES: [u16; 3] = [128, 128, 128];
/// VIRTIO_VSOCK_F_STREAM.
const FEATURE_STREAM: u64 = 1;
/// Valid CIDs of guests. 0 to 2 are the hypervisor, the local machine and the host; the largest value is VMADDR_CID_ANY.
const CIDS: std::ops::RangeInclusive<u32> = 3..=u32::MAX - 1;

/// Why a connection or a listener failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VsockError {
    /// The guest has no listener on the port, or the connection was closed before the guest accepted it.
    #[error("the guest refused the connection")]
    Refused,
    /// The guest has no active driver: it has not started one yet, was reset, or has ended.
    #[error("the guest's vsock driver is not ready")]
    NotReady,
    /// The device has as many connections as [`VsockLimits`] allow, or no file descriptor is left.
    #[error("the device has too many connections")]
    TooMany,
    /// The port already has a listener.
    #[error("port {port} already has a listener")]
    InUse {
        /// The host's port.
        port: u32,
    },
}

impl VsockError {
    /// Returns the stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "ERR_VSOCK"
    }

    /// Returns the stable name of the problem, the same in Rust and TypeScript.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NotReady => "not-ready",
            Self::TooMany => "too-many",
            Self::InUse { .. } => "in-use",
        }
    }

    /// Returns what the user can do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Refused => "Start a program in the guest that listens on the port.",
            Self::NotReady => "Try again when the guest has started, or let the guest connect.",
            Self::TooMany => "Close connections, or raise the limit on open files (ulimit -n).",
            Self::InUse { .. } => "Close the other listener, or use another port.",
        }
    }
}

/// Limits on the resources of this process that a guest may use. The device resets connections beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsockLimits {
    /// The most connections at a time. Each has one descriptor, or two if this process accepts it. This includes programs that have not
    /// named their port yet, and connections that the guest has ended and whose last bytes have not been written yet.
    pub connections: usize,
    /// The most bytes of the guest that wait for readers of the host. Each connection reserves the 128 KiB that the guest may send ahead.
    /// This therefore limits the number of connections, too, and an established connection is never reset because of it.
    pub buffered: usize,
}

impl Default for VsockLimits {
    /// Returns limits of 128 connections and 16 MiB.
    fn default() -> Self {
        Self { connections: 128, buffered: 16 << 20 }
    }
}

impl VsockLimits {
    /// Returns limits of `connections` connections, with the 128 KiB that each reserves.
    #[must_use]
    pub fn of_connections(connections: usize) -> Self {
        let each = usize::try_from(credit::BUFFER).unwrap_or(usize::MAX);
        Self { connections, buffered: connections.saturating_mul(each) }
    }

    /// Returns the number of connections that both limits allow.
    fn most(self) -> usize {
        self.connections.min(self.buffered / usize::try_from(credit::BUFFER).unwrap_or(usize::MAX))
    }
}

/// `virtio-vsock`: the device behind the guest's AF_VSOCK sockets.
///
/// ```
/// use kvm_accel_machine::virtio::Vsock;
///
/// let vsock = Vsock::new(3, None)?;
/// let listener = vsock.listen(52, 16, Box::new(|| {}))?;
/// assert!(listener.accept().is_none());
/// assert!(vsock.listen(52, 16, Box::new(|| {})).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Vsock {
    cid: u32,
    path: Option<Arc<HostPath>>,
    ports: Arc<Ports>,
    limits: VsockLimits,
}

impl Vsock {
    /// Creates a device with the guest's CID `cid`. Programs of the host connect to the guest through the Unix socket `path`. A connection
    /// of the guest to a port of the host goes to the Unix socket `path_PORT`.
    ///
    /// # Errors
    /// [`SetupError::Config`] for a CID that is invalid for a guest, or a path on which the device cannot listen. [`SetupError::Cancelled`]
    /// within about 10 ms of [`Cancel::cancel`].
    pub fn open(cid: u32, path: Option<&Path>, cancel: &Cancel) -> Result<Self, SetupError> {
        Self::with_limits(cid, path, VsockLimits::default(), cancel)
    }

    /// Creates a device like [`Vsock::open`], with limits other than the default.
    ///
    /// # Errors
    /// See [`Vsock::open`]; also limits that allow no connection.
    pub fn with_limits(
        cid: u32,
        path: Option<&Path>,
        limits: VsockLimits,
        cancel: &Cancel,
    ) -> Result<Self, SetupError> {
        if limits.most() == 0 {
            let message = format!(
                "invalid limits of virtio-vsock, {} connections and {} bytes: expected at least 1 connection and 128 KiB",
                limits.connections, limits.buffered
            );
            return Err(MachineConfigError::new("vsock", message, "Raise the limits.").into());
        }
        if !CIDS.contains(&cid) {
            let message = format!("invalid guest address (CID) {cid}: expected 3 to 4294967294");
            return Err(MachineConfigError::new("vsock", message, "Use a number from 3 to 4294967294.").into());
        }
        let ports = Ports::new(limits.most()).map_err(|error| {
            let message = format!("cannot create virtio-vsock: {error}");
            MachineConfigError::new("vsock", message, "Raise the limit on open files (ulimit -n).")
        })?;
        let path = path.map(|path| HostPath::new(path, cancel)).transpose()?.map(Arc::new);
        Ok(Self { cid, path, ports: Arc::new(ports), limits })
    }

    /// Creates a device like [`Vsock::open`], without cancellation.
    ///
    /// # Errors
    /// See [`Vsock::open`].
    pub fn new(cid: u32, path: Option<&Path>) -> Result<Self, SetupError> {
        Self::open(cid, path, &Cancel::default())
    }

    /// Connects to a port of the guest. `socket` is the device's end. Once the guest has accepted, the device's thread calls `done` with
    /// the host's port.
    pub fn connect(&self, port: u32, socket: UnixStream, done: Done) {
        self.ports.connect(Connect { port, socket, done });
    }

    /// Listens on a port of the host. The listener stays across resets. The device's thread calls `arrived` when there is a connection to
    /// accept. A connection of the guest is refused while `backlog` connections wait, and while the connections that wait at all listeners
    /// have reached the limits.
    ///
    /// # Errors
    /// [`VsockError::InUse`] if the port already has a listener.
    pub fn listen(
        &self,
        port: u32,
        backlog: usize,
        arrived: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Listener, VsockError> {
        self.ports.listen(port, backlog, arrived)
    }
}

impl fmt::Debug for Vsock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vsock").field("cid", &self.cid).field("path", &self.path).finish_non_exhaustive()
    }
}

impl VirtioDevice for Vsock {
    fn name(&self) -> &'static str {
        "virtio-vsock"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_VSOCK
    }

    fn features(&self) -> u64 {
        FEATURE_STREAM
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_space(&u64::from(self.cid).to_le_bytes(), offset, data);
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        let mux = Mux::new(self.cid.into(), Arc::clone(&self.ports), self.path.clone(), self.limits.most());
        match (<[_; 3]>::try_from(driver.queues), mux) {
            (Ok(queues), Ok(mux)) => Box::new(Streams::new(queues, mux, Arc::clone(&self.ports), driver.stop)),
            (Err(_), _) => Box::new(Broken(WorkerError::driver("queues are missing"))),
            (_, Err(error)) => {
                let remedy = "Raise the limit on open files (ulimit -n).";
                Box::new(Broken(HostError::new("cannot create the device's sockets", &error, remedy).into()))
            }
        }
    }
}

/// The worker of a device that failed to start. It only returns the error.
struct Broken(WorkerError);

impl Worker for Broken {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        Err(self.0.clone())
    }
}
