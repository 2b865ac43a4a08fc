//! Ports of the host that user-mode networking forwards to the guest.

use crate::MachineConfigError;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;

/// The protocol of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A forwarded port. Its text is passt's syntax: `127.0.0.1/8080:80`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The protocol.
    pub protocol: Protocol,
    /// The address at which the host listens; `None` for all addresses, of IPv4 and IPv6.
    pub address: Option<IpAddr>,
    /// The port of the host.
    pub host_port: NonZeroU16,
    /// The port of the guest.
    pub guest_port: NonZeroU16,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}/")?;
        }
        write!(f, "{}:{}", self.host_port, self.guest_port)
    }
}

impl Forward {
    /// Binds the port at each of its addresses, as passt does. passt itself forwards a port that is taken on one of two address
    /// families on the other one only, and reports nothing.
    fn take(&self) -> Result<Vec<OwnedFd>, MachineConfigError> {
        let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let addresses = self.address.as_ref().map_or(&all[..], std::slice::from_ref);
        let mut sockets = Vec::new();
        for &address in addresses {
            match self.bind(SocketAddr::new(address, self.host_port.get())) {
                Ok(socket) => sockets.push(socket),
                // The host has no such address family.
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if self.address.is_none() => {}
                Err(error) => return Err(self.refuse(address, error)),
            }
        }
        Ok(sockets)
    }

    fn bind(&self, address: SocketAddr) -> rustix::io::Result<OwnedFd> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match self.protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        if address.is_ipv6() {
            set_ipv6_v6only(&socket, true)?;
        }
        if self.protocol == Protocol::Tcp {
            // Connections of an earlier listener may still be in TIME_WAIT.
            set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &address)?;
        if self.protocol == Protocol::Tcp {
            listen(&socket, 1)?;
        }
        Ok(socket)
    }

    fn refuse(&self, address: IpAddr, error: Errno) -> MachineConfigError {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let protocol = match self.protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        let remedy = match error {
            Errno::ADDRINUSE => "Use another hostPort, or a hostAddress at which this port is free.",
            Errno::ADDRNOTAVAIL => "Use an address of this host as hostAddress.",
            Errno::ACCESS => "Use a hostPort from 1024 on, or lower sysctl net.ipv4.ip_unprivileged_port_start.",
            _ => "Use another hostPort or hostAddress.",
        };
        let port = self.host_port;
        let message =
            format!("cannot forward {protocol} port {port} of the host at {family} address '{address}': {error}");
        MachineConfigError::new("networks", message, remedy)
    }
}

/// Checks that every port is free at each of its addresses. Another process may still take one before passt does.
///
/// # Errors
/// Fails for the first port that is taken or that this process may not use. Names the port and the address.
pub fn check_free(forwards: &[Forward]) -> Result<(), MachineConfigError> {
    // Keeps the sockets, so that a port that two forwards share is found, too.
    let mut sockets = Vec::new();
    for forward in forwards {
        sockets.extend(forward.take()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn forward(protocol: Protocol, address: Option<&str>, port: u16) -> Forward {
        let port = NonZeroU16::new(port).unwrap();
        Forward { protocol, address: address.map(|text| text.parse().unwrap()), host_port: port, guest_port: port }
    }

    /// Returns the error for one port.
    fn error(forward: Forward) -> String {
        check_free(&[forward]).unwrap_err().to_string()
    }

    #[test]
    fn test_a_tcp_port_that_is_taken_on_one_address_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let all =
            format!("cannot forward TCP port {port} of the host at IPv4 address '0.0.0.0': Address already in use");
        assert!(error(forward(Protocol::Tcp, None, port)).starts_with(&all));
        assert!(error(forward(Protocol::Tcp, Some("127.0.0.1"), port)).contains("IPv4 address '127.0.0.1': "));
        drop(taken);
        assert_eq!(check_free(&[forward(Protocol::Tcp, Some("127.0.0.1"), port)]), Ok(()));
    }

    #[test]
    fn test_a_udp_port_that_is_taken_on_one_address_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(error(forward(Protocol::Udp, None, port)).starts_with(&format!("cannot forward UDP port {port} ")));
    }

    #[test]
    fn test_a_port_that_is_taken_on_ipv6_alone_is_named() {
        // A host without IPv6 cannot take it.
        let Ok(taken) = TcpListener::bind("[::1]:0") else { return };
        let port = taken.local_addr().unwrap().port();
        let message = error(forward(Protocol::Tcp, None, port));
        assert!(message.contains(&format!("TCP port {port} of the host at IPv6 address '::': ")), "{message}");
    }

    #[test]
    fn test_two_forwards_of_one_port_are_refused() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let forward = forward(Protocol::Tcp, Some("127.0.0.1"), free);
        assert!(check_free(&[forward.clone(), forward]).is_err());
    }

    #[test]
    fn test_an_address_of_another_host_is_named() {
        // 192.0.2.0/24 is for documentation (RFC 5737).
        let error = check_free(&[forward(Protocol::Tcp, Some("192.0.2.1"), 40_000)]).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }

    #[test]
    fn test_a_forward_is_written_in_the_syntax_of_passt() {
        assert_eq!(forward(Protocol::Tcp, Some("127.0.0.1"), 80).to_string(), "127.0.0.1/80:80");
        assert_eq!(forward(Protocol::Udp, None, 80).to_string(), "80:80");
    }
}
