//! `virtio-net`.

use super::throttle::ThrottleConfig;
use crate::Failure;
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::virtio::net::{Backend, passt};
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
    Tap(String),
    /// User-mode networking by passt.
    User {
        /// Ports of the host that are forwarded to the guest.
        forwards: Vec<ForwardConfig>,
    },
    /// A Unix socket with the protocol of QEMU's `-netdev stream`.
    Stream(String),
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
    Tap(String),
    User(passt::Options),
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
            Self::Tap(interface) => BackendPlan::Tap(interface),
            Self::Stream(path) => BackendPlan::Stream(path),
            Self::User { forwards } => {
                let mut options = passt::Options { tcp: Vec::new(), udp: Vec::new() };
                for forward in forwards {
                    let text = forward.check()?;
                    match forward.protocol {
                        Protocol::Tcp => options.tcp.push(text),
                        Protocol::Udp => options.udp.push(text),
                    }
                }
                BackendPlan::User(options)
            }
        })
    }
}

impl ForwardConfig {
    /// Returns the forward in passt's syntax: `127.0.0.1/8080:80`.
    fn check(&self) -> Result<String, MachineConfigError> {
        let Self { host_address, host_port, guest_port, .. } = self;
        let Some(address) = host_address else { return Ok(format!("{host_port}:{guest_port}")) };
        let numeric = |byte: u8| byte.is_ascii_hexdigit() || byte == b'.' || byte == b':';
        if address.is_empty() || !address.bytes().all(numeric) {
            let message = format!("invalid host address '{address}' in networks: expected a numeric IP address");
            return Err(MachineConfigError::new("networks", message, "For example 127.0.0.1."));
        }
        Ok(format!("{address}/{host_port}:{guest_port}"))
    }
}

impl NetworkPlan {
    /// Opens the interface, connects to the socket, or starts passt.
    pub fn open(self, cancel: &Cancel) -> Result<Net, SetupError> {
        let backend = match self.backend {
            BackendPlan::Tap(interface) => Backend::tap(&interface)?,
            BackendPlan::User(options) => Backend::passt(&options)?,
            BackendPlan::Stream(path) => Backend::connect(Path::new(&path), cancel)?,
        };
        Ok(Net::new(NetConfig { backend, mac: self.mac, mtu: self.mtu, throttle: self.throttle })?)
    }
}
