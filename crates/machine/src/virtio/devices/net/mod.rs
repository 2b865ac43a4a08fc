//! The network device (section 5.1): moves frames between the guest and a back end on the host.
//!
//! - [`Net`]: the device, as its driver sees it before activation.
//! - [`Backend`]: the back ends; `passt`: the process behind user-mode networking; [`Forward`]: its ports of the host.
//! - `frames`: the worker.

mod backend;
mod forward;
mod frames;
mod passt;
mod stream;

pub use backend::Backend;
pub use forward::{Forward, Protocol};

use crate::virtio::interface::exclusive::Exclusive;
use crate::virtio::interface::read_space;
use crate::virtio::interface::{Driver, VirtioDevice, Worker};
use crate::virtio::throttle::{ExclusiveThrottle, Throttle, ThrottleConfig};
use crate::{MachineConfigError, SetupError};
use frames::Frames;
use kvm_accel::cancel::Cancel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

/// The sizes of the receive and transmit queues, as in QEMU.
const QUEUES: [u16; 2] = [256; 2];

/// The offload features, which require a back end that handles incomplete frames.
const OFFLOADS: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6;

/// The valid range of the MTU (section 5.1.4.1).
const MTU: std::ops::RangeInclusive<u16> = 68..=65535;

/// The configuration of a network device.
#[derive(Debug)]
pub struct NetConfig {
    /// The back end.
    pub backend: Backend,
    /// The guest's MAC address.
    pub mac: [u8; 6],
    /// The MTU that the device reports to the guest, from 68 on; without one the guest assumes 1500.
    pub mtu: Option<u16>,
    /// Rate limits, for both directions together.
    pub throttle: ThrottleConfig,
}

/// `virtio-net`: the device.
#[derive(Debug)]
pub struct Net {
    backend: Exclusive<Backend>,
    offloads: bool,
    mac: [u8; 6],
    mtu: Option<u16>,
    throttle: Option<ExclusiveThrottle>,
    /// The link is up: the back end has not closed.
    link: Arc<AtomicBool>,
}

impl Net {
    /// Creates a device.
    ///
    /// # Errors
    /// When the MAC address is a group address, or the MTU is out of range.
    pub fn new(config: NetConfig) -> Result<Self, MachineConfigError> {
        let NetConfig { backend, mac, mtu, throttle } = config;
        if mac[0] & 1 != 0 || mac == [0; 6] {
            let message = "invalid MAC address of a network: expected an even first byte, and not all bytes 0";
            return Err(MachineConfigError::new("networks", message, "Use an address such as 52:54:00:12:34:56."));
        }
        if let Some(mtu) = mtu.filter(|mtu| !MTU.contains(mtu)) {
            let message = format!("invalid MTU {mtu}: expected {} to {} bytes", MTU.start(), MTU.end());
            return Err(MachineConfigError::new("networks", message, "Omit the MTU for 1500 bytes."));
        }
        let limited = throttle != ThrottleConfig::default();
        let throttle = limited.then(|| Throttle::new(&throttle)).transpose().map_err(|error| {
            let message = format!("cannot create the timer of a network's rate limit: {error}");
            MachineConfigError::new("networks", message, "Raise this process's limit of open files (ulimit -n).")
        })?;
        Ok(Self {
            offloads: backend.offloads(),
            backend: Exclusive::new(backend),
            mac,
            mtu,
            throttle: throttle.map(ExclusiveThrottle::new),
            link: Arc::new(AtomicBool::new(true)),
        })
    }

    /// Returns `struct virtio_net_config`: MAC, status, number of queue pairs, MTU.
    fn config(&self) -> [u8; 12] {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.mac);
        config[6] = if self.link.load(Ordering::Acquire) { LINK_UP } else { 0 };
        config[8] = 1;
        config[10..].copy_from_slice(&self.mtu.unwrap_or(0).to_le_bytes());
        config
    }
}

/// VIRTIO_NET_S_LINK_UP, in the low byte of the status field.
const LINK_UP: u8 = {
    assert!(VIRTIO_NET_S_LINK_UP == 1);
    1
};

impl VirtioDevice for Net {
    fn name(&self) -> &'static str {
        "virtio-net"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        let mtu = u64::from(self.mtu.is_some()) << VIRTIO_NET_F_MTU;
        let offloads = if self.offloads { OFFLOADS } else { 0 };
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_STATUS | 1 << VIRTIO_NET_F_MRG_RXBUF | mtu | offloads
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_space(&self.config(), offset, data);
    }

    fn wait_until_started(&self, cancel: &Cancel) -> Result<(), SetupError> {
        // The back end is here: a worker takes it only after the guest has started.
        self.backend.claim().get_mut().map_or(Ok(()), |backend| backend.wait_until_started(self.mac, cancel))
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        let throttle = self.throttle.as_ref().map(ExclusiveThrottle::claim);
        Box::new(Frames::new(self.backend.claim(), throttle, Arc::clone(&self.link), driver))
    }
}

#[cfg(test)]
mod tests;
