//! Tap interfaces of the host: frames of a network, with the header that virtio has in front of them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Bytes of `struct virtio_net_hdr_v1`.
const HEADER: libc::c_int = 12;

/// What the reader of a tap takes from the host unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapOffload {
    /// Frames whose checksum is not there yet.
    pub checksum: bool,
    /// TCP segments over IPv4 that are larger than a frame.
    pub tso4: bool,
    /// The same over IPv6.
    pub tso6: bool,
}

/// Attaches to the tap interface of this name, or makes one that lasts as long as the descriptor. Non-blocking.
///
/// # Errors
/// The kernel's: ENOENT without `/dev/net/tun`, EPERM without the right, EBUSY while another process has it, EINVAL for what is no tap.
pub fn open_tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: the structure is plain numbers; all zeroes are a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room || name.contains(['\0', '%']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is there during the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &HEADER) })?;
    Ok(file)
}

/// Says what the reader takes from now on.
///
/// # Errors
/// The kernel's.
pub fn set_tap_offload(tap: &impl AsFd, offload: TapOffload) -> io::Result<()> {
    let TapOffload { checksum, tso4, tso6 } = offload;
    let bits = [(checksum, libc::TUN_F_CSUM), (tso4, libc::TUN_F_TSO4), (tso6, libc::TUN_F_TSO6)];
    let bits: libc::c_uint = bits.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(tap.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(bits)) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
