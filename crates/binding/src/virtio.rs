//! Virtio devices as TypeScript hands them over.

use crate::console::{self, BindingConsolePort};
use crate::throttle::BindingThrottle;
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::board::BoardError;
use kvm_accel_machine::virtio::console::Console;
use kvm_accel_machine::virtio::net::{Backend, passt};
use kvm_accel_machine::virtio::{
    Balloon, BalloonConfig, Block, DiskConfig, Net, NetConfig, Rng, VirtioDevice, Vsock, VsockLimits,
};
use kvm_accel_machine::{MachineConfigError, SetupError};
use napi_derive::napi;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// One device.
#[napi(discriminant = "kind", discriminant_case = "lowercase", object_to_js = false)]
pub enum BindingVirtio {
    /// `virtio-balloon`; the interval of statistics in milliseconds, 0 for never.
    Balloon { deflate_on_oom: bool, free_page_reporting: bool, statistics_interval: u32 },
    /// `virtio-blk`: an image as a disk.
    Block { path: String, format: String, read_only: bool, serial: String, discard: bool, throttle: BindingThrottle },
    /// `virtio-console`: terminals and channels.
    Console { ports: Vec<BindingConsolePort> },
    /// `virtio-net`: a network by a tap interface, a Unix socket, or passt (`user`).
    Net {
        backend: String,
        target: String,
        tcp: Vec<String>,
        udp: Vec<String>,
        mac: Vec<u8>,
        mtu: Option<u16>,
        throttle: BindingThrottle,
    },
    /// `virtio-rng`: random bytes from a file, at most so many in a period of milliseconds.
    Rng { source: String, max_bytes: Option<i64>, period: u32 },
    /// `virtio-vsock`: the guest's address, where programs of the host find it, and how many connections there may be.
    Vsock { cid: u32, path: Option<String>, max_connections: u32 },
}

/// Devices that JavaScript talks to. They end with the machine, whenever its object is collected.
#[derive(Default)]
pub struct VirtioHandles {
    /// The one balloon.
    pub balloon: Option<Weak<Balloon>>,
    /// The one socket device.
    pub vsock: Option<Weak<Vsock>>,
    /// The one console.
    pub console: Option<Weak<Console>>,
    /// The users' ends of its ports, until they are taken.
    pub console_ends: Vec<Option<UnixStream>>,
}

impl BindingVirtio {
    /// Opens what the device needs. A device that JavaScript talks to is in `handles`, too.
    pub fn open(self, handles: &mut VirtioHandles, cancel: &Cancel) -> Result<Arc<dyn VirtioDevice>, BoardError> {
        cancel.check()?;
        Ok(match self {
            Self::Balloon { deflate_on_oom, free_page_reporting, statistics_interval } => {
                let statistics_interval = Duration::from_millis(statistics_interval.into());
                let config = BalloonConfig { deflate_on_oom, free_page_reporting, statistics_interval };
                let balloon = Arc::new(Balloon::new(&config)?);
                handles.balloon = Some(Arc::downgrade(&balloon));
                balloon
            }
            Self::Block { path, format, read_only, serial, discard, throttle } => Arc::new(Block::new(DiskConfig {
                path: path.into(),
                format: format.parse()?,
                read_only,
                serial,
                discard,
                throttle: throttle.into_config("disks")?,
            })?),
            Self::Console { ports } => {
                let (console, ends) = console::make(ports)?;
                let console = Arc::new(console);
                handles.console = Some(Arc::downgrade(&console));
                handles.console_ends = ends;
                console
            }
            Self::Net { backend, target, tcp, udp, mac, mtu, throttle } => Arc::new(Net::new(NetConfig {
                backend: network(&backend, &target, &passt::Options { tcp, udp }, cancel)?,
                mac: mac.try_into().unwrap_or_default(),
                mtu,
                throttle: throttle.into_config("networks")?,
            })?),
            Self::Rng { source, max_bytes, period } => {
                let period = Duration::from_millis(period.into());
                // Checked in TypeScript; less than a byte a second is one.
                let limit = max_bytes.map(|bytes| (u64::try_from(bytes).unwrap_or(0), period));
                Arc::new(Rng::new(Path::new(&source), limit)?)
            }
            Self::Vsock { cid, path, max_connections } => {
                let limits = VsockLimits::of_connections(usize::try_from(max_connections).unwrap_or(usize::MAX));
                let vsock = Arc::new(Vsock::with_limits(cid, path.as_deref().map(Path::new), limits, cancel)?);
                handles.vsock = Some(Arc::downgrade(&vsock));
                vsock
            }
        })
    }
}

fn network(backend: &str, target: &str, options: &passt::Options, cancel: &Cancel) -> Result<Backend, SetupError> {
    match backend {
        "tap" => Ok(Backend::tap(target)?),
        "user" => Ok(Backend::passt(options)?),
        "stream" => Backend::connect(Path::new(target), cancel),
        other => {
            let message = format!("a network does not lead to '{other}'");
            Err(MachineConfigError::new("networks", message, "Take tap, user or stream.").into())
        }
    }
}
