//! Tap interfaces of the host. They transfer network frames, each preceded by the virtio header.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Size of `struct virtio_net_hdr_v1` in bytes.
const HEADER: libc::c_int = 12;

/// The offloads that the reader of a tap accepts: work on frames that the host leaves unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapOffload {
    /// Frames without a computed checksum.
    pub checksum: bool,
    /// TCP segments over IPv4 that are larger than a frame.
    pub tso4: bool,
    /// TCP segments over IPv6 that are larger than a frame.
    pub tso6: bool,
}

/// A tap interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tap {
    /// An interface that exists.
    Existing(String),
    /// A new interface with this name, in which the kernel replaces `%d` by a number. It exists as long as the descriptor.
    New(String),
}

/// Attaches to a tap interface. Non-blocking.
///
/// # Errors
/// ENOENT without `/dev/net/tun`, ENODEV without an interface of this name, EPERM without permission, EBUSY while another process
/// uses the interface or if the new one exists, EINVAL if it is not a tap or the name is invalid.
pub fn open_tap(tap: &Tap) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let (name, exclusive) = match tap {
        Tap::Existing(name) => (name, 0),
        Tap::New(name) => (name, libc::IFF_TUN_EXCL),
    };
    // SAFETY: the structure is plain numbers; all zeroes are a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    // In a new name, the kernel accepts one `%d`.
    let plain = if exclusive == 0 { name.clone() } else { name.replacen("%d", "", 1) };
    if name.is_empty() || name.len() > room || plain.contains(['\0', '%']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // TUNSETIFF creates an interface that does not exist, if this process may.
    // SAFETY: the name ends with a NUL, because it is shorter than the array of zeroes.
    if exclusive == 0 && unsafe { libc::if_nametoindex(request.ifr_name.as_ptr()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | exclusive;
    request.ifr_ifru.ifru_flags = u16::try_from(flags).map_err(io::Error::other)?.cast_signed();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which is there during the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &HEADER) })?;
    Ok(file)
}

/// Sets the offloads that the reader accepts from now on.
///
/// # Errors
/// The error of the ioctl.
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
