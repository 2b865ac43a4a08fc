//! QEMU's image locks. While one process writes an image, no other process reads or writes it. The locks also work between this process and
//! QEMU.
//!
//! QEMU numbers the permissions on an image. Each permission has two bytes that processes lock shared: the first byte if the process uses
//! the permission, the second if it does not share the permission with others. A process takes its own locks first and then checks for
//! conflicts.

use kvm_accel::file_lock::{is_byte_locked, share_byte};
use std::fs::File;
use std::io;

/// Consistent read, write and resize: QEMU's `BLK_PERM_CONSISTENT_READ`, `_WRITE` and `_RESIZE`.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// Offset of the bytes for permissions that are in use.
const USED: i64 = 100;
/// Offset of the bytes for permissions that are not shared.
const UNSHARED: i64 = 200;

/// The locks of an open image.
#[derive(Debug)]
pub struct Lock {
    /// The kernel releases the locks when the last descriptor of this open file description is closed.
    _file: File,
}

/// Takes the locks. On a conflict, returns the reason. On a file system without locks, no lock is taken.
pub fn take(file: &File, read_only: bool) -> Result<Lock, &'static str> {
    let used: &[i64] = if read_only { &[READ] } else { &[READ, WRITE] };
    // A guest's file system requires that no other process changes the disk.
    let unshared = [WRITE, RESIZE];
    let own = used.iter().map(|thing| USED + thing).chain(unshared.map(|thing| UNSHARED + thing));
    for byte in own {
        if let Err(error) = share_byte(file, byte) {
            let busy = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied);
            // Another process holds an exclusive lock, which this protocol never uses.
            return if busy { Err("is locked by another process") } else { unlocked(file) };
        }
    }
    if used.iter().any(|thing| is_byte_locked(file, UNSHARED + thing)) {
        return Err("is in use by a machine, which does not let others write it");
    }
    if unshared.iter().any(|thing| is_byte_locked(file, USED + thing)) {
        return Err("is being written by another machine");
    }
    unlocked(file)
}

/// The text after the path in the message for a process without a free descriptor for the lock.
pub const TOO_MANY_FILES: &str = "cannot be locked: too many open files";

fn unlocked(file: &File) -> Result<Lock, &'static str> {
    file.try_clone().map(|file| Lock { _file: file }).map_err(|_| TOO_MANY_FILES)
}
