//! `virtio-net`.

use super::throttle::ThrottleConfig;
use crate::Failure;
use kvm_accel::cancel::Cancel;
use kvm_accel::tap::Tap;
use kvm_accel_machine::virtio::net::{self, Backend, Forward};
use kvm_accel_machine::virtio::throttle::ThrottleConfig as Throttle;
use kvm_accel_machine::virtio::{Net, NetConfig};
use kvm_accel_machine::{MachineConfigError, SetupError};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU16;
use std::path::Path;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkConfig {
    /// The back end.
    pub backend: BackendConfig,
    /// The guest's MAC address: six bytes in hexadecimal, separated by colons.
    pub mac: String,
    /// MTU in bytes, 68 to 65535; if none, the guest assumes 1500.
    pub mtu: Option<u16>,
    /// The user's name of the device. The guest does not see it.
    pub id: String,
    /// Rate limits, over both directions together.
    pub throttle: ThrottleConfig,
}

/// The back end of a network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum BackendConfig {
    /// A tap interface of the host.
    Tap(TapConfig),
    /// User-mode networking by passt.
    User {
        /// Ports of the host that are forwarded to the guest.
        forwards: Vec<ForwardConfig>,
    },
    /// A Unix socket with the protocol of QEMU's `-netdev stream`.
    Stream(String),
}

/// A tap interface of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TapConfig {
    /// The name of the interface.
    pub name: String,
    /// Creates the interface, which exists as long as the machine. The kernel replaces `%d` in the name by a number.
    pub create: bool,
}

/// A port of the host that is forwarded to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardConfig {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address on which the host listens; none for all addresses.
    pub host_address: Option<String>,
    /// The port of the host.
    pub host_port: NonZeroU16,
    /// The port of the guest.
    pub guest_port: NonZeroU16,
}

/// The protocol of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A checked [`NetworkConfig`].
pub struct NetworkPlan {
    backend: BackendPlan,
    mac: [u8; 6],
    mtu: Option<u16>,
    throttle: Throttle,
}

enum BackendPlan {
    Tap(Tap),
    User(Vec<Forward>),
    Stream(String),
}

impl NetworkConfig {
    pub(in crate::config) fn check(self) -> Result<NetworkPlan, Failure> {
        Ok(NetworkPlan {
            backend: self.backend.check()?,
            mac: mac(&self.mac)?,
            mtu: self.mtu,
            throttle: self.throttle.check("networks")?,
        })
    }
}

/// Parses a MAC address. `Net::new` refuses group addresses.
fn mac(text: &str) -> Result<[u8; 6], MachineConfigError> {
    let byte = |digits: &str| {
        let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        hexadecimal.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let message =
            format!("invalid MAC address '{text}' in networks: expected six bytes in hexadecimal with colons");
        MachineConfigError::new("networks", message, "For example 52:54:00:12:34:56.")
    })
}

impl BackendConfig {
    fn check(self) -> Result<BackendPlan, MachineConfigError> {
        Ok(match self {
            Self::Tap(TapConfig { name, create: false }) => BackendPlan::Tap(Tap::Existing(name)),
            Self::Tap(TapConfig { name, create: true }) => BackendPlan::Tap(Tap::New(name)),
            Self::Stream(path) => BackendPlan::Stream(path),
            Self::User { forwards } => {
                BackendPlan::User(forwards.into_iter().map(ForwardConfig::check).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl ForwardConfig {
    fn check(self) -> Result<Forward, MachineConfigError> {
        let Self { protocol, host_address, host_port, guest_port } = self;
        let protocol = match protocol {
            Protocol::Tcp => net::Protocol::Tcp,
            Protocol::Udp => net::Protocol::Udp,
        };
        let address = host_address.map(|text| {
            text.parse().map_err(|_| {
                let message = format!("invalid host address '{text}' in networks: expected a numeric IP address");
                MachineConfigError::new("networks", message, "For example 127.0.0.1.")
            })
        });
        Ok(Forward { protocol, address: address.transpose()?, host_port, guest_port })
    }
}

impl NetworkPlan {
    /// Opens the interface, connects to the socket, or starts passt.
    pub fn open(self, cancel: &Cancel) -> Result<Net, SetupError> {
        let backend = match self.backend {
            BackendPlan::Tap(tap) => Backend::tap(&tap)?,
            BackendPlan::User(forwards) => Backend::passt(&forwards)?,
            BackendPlan::Stream(path) => Backend::connect(Path::new(&path), cancel)?,
        };
        Ok(Net::new(NetConfig { backend, mac: self.mac, mtu: self.mtu, throttle: self.throttle })?)
    }
}
