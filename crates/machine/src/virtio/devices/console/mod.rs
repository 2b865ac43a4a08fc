//! The console device (section 5.3): terminals of the guest (`hvc0` and so on), and named byte channels.
//!
//! - `control`: control messages about ports, pure.
//! - `host_end`: the host's end of a port. `port`: the two queues of a port. `worker`: all ports and the control queues.

mod control;
mod host_end;
mod port;
#[cfg(test)]
mod tests;
mod worker;

pub use host_end::HostEnd;

use crate::MachineConfigError;
use crate::virtio::interface::exclusive::Exclusive;
use crate::virtio::interface::read_space;
use crate::virtio::interface::{Driver, VirtioDevice, Worker, WorkerError};
use kvm_accel::{EventSink, lock};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use vmm_sys_util::eventfd::EventFd;
use worker::Ports;

/// VIRTIO_CONSOLE_F_SIZE.
const FEATURE_SIZE: u64 = 1;
/// VIRTIO_CONSOLE_F_MULTIPORT.
const FEATURE_MULTIPORT: u64 = 1 << 1;
/// The size of QEMU's queues.
const QUEUE: u16 = 128;
/// The size of QEMU's control queues.
const CONTROL_QUEUE: u16 = 32;
/// The most ports of a device. A port has two queues, and the transport needs a file descriptor for each queue.
pub const MAX_PORTS: usize = 16;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Characters per line.
    pub columns: u16,
    /// Number of lines.
    pub rows: u16,
}

/// The kind of a port, which the guest sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A terminal, `/dev/hvc0` and so on in Linux.
    Console,
    /// A byte channel, `/dev/vport0p1` and so on in Linux, and `/dev/virtio-ports/NAME` with udev.
    Channel {
        /// The name of the channel.
        name: String,
    },
}

/// `virtio-console`: ports of the guest, each with an end on the host.
///
/// ```
/// use kvm_accel_machine::virtio::console::{Console, HostEnd, PortKind, Size};
///
/// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
/// let console = Console::new(vec![(PortKind::Console, HostEnd::stream(ours))])?;
/// console.resize(0, Size { columns: 132, rows: 43 });
/// # drop(theirs);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Console {
    kinds: Arc<[PortKind]>,
    queues: Vec<u16>,
    ends: Exclusive<Vec<HostEnd>>,
    terminals: Arc<Terminals>,
}

impl Console {
    /// Creates a device with these ports.
    ///
    /// # Errors
    /// When there is no port, there are more than [`MAX_PORTS`], or no file descriptor is left.
    pub fn new(ports: Vec<(PortKind, HostEnd)>) -> Result<Self, MachineConfigError> {
        if ports.is_empty() || ports.len() > MAX_PORTS {
            let message = format!("invalid number of console ports {}: expected 1 to 16", ports.len());
            return Err(MachineConfigError::new("consoles", message, "Use 1 to 16 ports."));
        }
        let (kinds, ends): (Vec<_>, _) = ports.into_iter().unzip();
        let terminals = Terminals::new(kinds.len()).map_err(|error| {
            let message = format!("cannot create virtio-console: {error}");
            MachineConfigError::new("consoles", message, "Raise the limit on open files (ulimit -n).")
        })?;
        let mut queues = vec![QUEUE, QUEUE];
        if is_multiport(&kinds) {
            queues.extend([CONTROL_QUEUE; 2]);
            let last = kinds.len() - 1 + first_id(&kinds);
            queues.extend([QUEUE, QUEUE].repeat(last));
        }
        Ok(Self { kinds: kinds.into(), queues, ends: Exclusive::new(ends), terminals: Arc::new(terminals) })
    }

    /// Reports output that the host could not write to `sink`. Called before the driver starts the device.
    pub fn report_losses(&self, sink: &Arc<dyn EventSink>) {
        let mut ends = self.ends.claim();
        for (index, (end, kind)) in ends.get_mut().into_iter().flatten().zip(&*self.kinds).enumerate() {
            let port = match kind {
                PortKind::Console => format!("console {index}"),
                PortKind::Channel { name } => format!("channel '{name}'"),
            };
            end.report_losses(port, sink);
        }
    }

    /// Sets the size of a port's terminal. The guest is notified now, and after each time that its driver sets up the port. A channel has
    /// no size.
    pub fn resize(&self, port: usize, size: Size) {
        self.terminals.resize(port, size);
    }
}

/// True if the device needs control messages. A single terminal needs none: its size is in the configuration space.
fn is_multiport(kinds: &[PortKind]) -> bool {
    !matches!(kinds, [PortKind::Console])
}

/// Returns the number of the first port. As in QEMU, port 0 is a terminal or does not exist: a driver without control messages takes port 0
/// for a terminal.
fn first_id(kinds: &[PortKind]) -> usize {
    usize::from(!matches!(kinds, [PortKind::Console, ..]))
}

/// The sizes of the terminals. They may change at any time.
struct Terminals {
    sizes: Mutex<Vec<Option<Size>>>,
    /// Signalled when the worker has to check the sizes and the ports.
    wake: EventFd,
}

impl Terminals {
    fn new(ports: usize) -> std::io::Result<Self> {
        let wake = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { sizes: Mutex::new(vec![None; ports]), wake })
    }

    fn sizes(&self) -> MutexGuard<'_, Vec<Option<Size>>> {
        lock(&self.sizes)
    }

    fn resize(&self, port: usize, size: Size) {
        if let Some(of_port) = self.sizes().get_mut(port) {
            *of_port = Some(size);
        }
        crate::virtio::io_thread::ring(&self.wake);
    }

    fn size(&self, port: usize) -> Option<Size> {
        self.sizes().get(port).copied().flatten()
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

impl VirtioDevice for Console {
    fn name(&self) -> &'static str {
        "virtio-console"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        FEATURE_SIZE | if is_multiport(&self.kinds) { FEATURE_MULTIPORT } else { 0 }
    }

    fn queues(&self) -> &[u16] {
        &self.queues
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let Size { columns, rows } = self.terminals.size(0).unwrap_or_default();
        let ports = u32::try_from(self.kinds.len() + first_id(&self.kinds)).unwrap_or(0);
        let space = [&columns.to_le_bytes()[..], &rows.to_le_bytes(), &ports.to_le_bytes()].concat();
        read_space(&space, offset, data);
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        match Ports::new(driver, Arc::clone(&self.kinds), self.ends.claim(), Arc::clone(&self.terminals)) {
            Some(ports) => Box::new(ports),
            None => Box::new(Broken),
        }
    }
}

/// The worker of a driver that has set up fewer queues than the device has. It only returns the error.
struct Broken;

impl Worker for Broken {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        Err(WorkerError::driver("queues are missing"))
    }
}
