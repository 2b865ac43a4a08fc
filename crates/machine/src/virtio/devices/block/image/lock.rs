//! An image is written by one process at a time, and not read meanwhile. The locks are QEMU's, so that they hold between the two.
//!
//! QEMU names what one may do with an image by numbers, and locks two bytes for each: the first, shared, by who does it; the second, shared, by
//! who does not want others to. Whoever opens an image takes its locks first and then looks for conflicts.

use kvm_accel::file_lock::{is_byte_locked, share_byte};
use std::fs::File;
use std::io;

/// Reading data that fits together, writing, and changing the size: QEMU's `BLK_PERM_CONSISTENT_READ`, `_WRITE` and `_RESIZE`.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// The byte for who does the first of these things.
const USED: i64 = 100;
/// The byte for who does not want it done.
const UNSHARED: i64 = 200;

/// The locks of an open image.
#[derive(Debug)]
pub struct Lock {
    /// They go with the last descriptor of this opening.
    _file: File,
}

/// Takes the locks; says what is in the way otherwise. File systems without locks have none.
pub fn take(file: &File, read_only: bool) -> Result<Lock, &'static str> {
    let used: &[i64] = if read_only { &[READ] } else { &[READ, WRITE] };
    // A guest's file system stands no change behind its back.
    let unshared = [WRITE, RESIZE];
    let own = used.iter().map(|thing| USED + thing).chain(unshared.map(|thing| UNSHARED + thing));
    for byte in own {
        if let Err(error) = share_byte(file, byte) {
            let busy = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied);
            // Somebody has a lock that nobody takes who keeps to these rules.
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

fn unlocked(file: &File) -> Result<Lock, &'static str> {
    file.try_clone().map(|file| Lock { _file: file }).map_err(|_| "cannot be kept open: too many files are")
}
