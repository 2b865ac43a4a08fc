//! Locks on single bytes of a file that belong to an open file description (`F_OFD_SETLK`). rustix and the standard library have no call
//! for them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Takes a shared lock on the byte at `offset`. The lock ends when the last descriptor of this open file description is closed.
///
/// # Errors
/// `WouldBlock` or `PermissionDenied` while another open file description holds an exclusive lock; otherwise the error of a file system
/// without locks.
pub fn share_byte(file: &File, offset: i64) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, &mut record(libc::F_RDLCK, offset))
}

/// Returns whether another open file description holds a lock, shared or exclusive, on the byte at `offset`.
#[must_use]
pub fn is_byte_locked(file: &File, offset: i64) -> bool {
    let mut lock = record(libc::F_WRLCK, offset);
    call(file, libc::F_OFD_GETLK, &mut lock).is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

fn record(kind: i32, offset: i64) -> libc::flock {
    // The kernel requires `l_pid` 0 for locks of an open file description.
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or(0),
        l_whence: 0, // SEEK_SET
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

fn call(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: both commands read and write one `flock`, which outlives the call, and nothing else of this process.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
