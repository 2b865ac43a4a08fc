//! Virtio devices, one file for each.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `throttle`: rate limits.
//! - `balloon`, `console`, `disk`, `network`, `rng`, `vsock`: the devices.

mod balloon;
mod console;
mod disk;
mod network;
mod rng;
mod throttle;
mod vsock;

pub use balloon::BalloonConfig;
pub use console::ConsoleConfig;
pub use disk::DiskConfig;
pub use network::{BackendConfig, ForwardConfig, NetworkConfig, Protocol};
pub use rng::RngConfig;
pub use throttle::{LimitsConfig, ThrottleConfig};
pub use vsock::VsockConfig;

use crate::config::opened::Opened;
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::board::BoardError;
use kvm_accel_machine::virtio::{Block, VirtioDevice};
use network::NetworkPlan;
use std::sync::Arc;

/// A device whose configuration has been checked, and whose files are not open yet.
pub enum DevicePlan {
    Disk(kvm_accel_machine::virtio::DiskConfig),
    Network(NetworkPlan),
    Rng(RngConfig),
    Vsock(VsockConfig),
    Balloon(BalloonConfig),
    Console(Vec<ConsoleConfig>),
}

impl DevicePlan {
    /// Opens the files and sockets of the device. `opened` receives the parts that the caller accesses.
    pub fn open(self, opened: &mut Opened, cancel: &Cancel) -> Result<Arc<dyn VirtioDevice>, BoardError> {
        cancel.check()?;
        Ok(match self {
            Self::Disk(disk) => opened.disk(Block::new(disk)?),
            Self::Network(network) => Arc::new(network.open(cancel)?),
            Self::Rng(rng) => Arc::new(rng.open()?),
            Self::Vsock(vsock) => opened.vsock(vsock.open(cancel)?),
            Self::Balloon(balloon) => opened.balloon(balloon.open()?),
            Self::Console(ports) => {
                let (console, ends) = console::open(ports)?;
                opened.console(console, ends)
            }
        })
    }
}
