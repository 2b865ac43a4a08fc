//! Opens the files of an image.

use super::lock::{self, Lock};
use crate::MachineConfigError;
use crate::error::remedy_of_open;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// A file or a block device that is open and locked.
pub struct OpenFile {
    pub file: File,
    /// Length in bytes.
    pub len: u64,
    pub lock: Lock,
}

/// Returns the error of an image that cannot be used. The message is the path followed by `what`.
pub fn refuse(path: &Path, what: impl std::fmt::Display, remedy: &'static str) -> MachineConfigError {
    MachineConfigError::new("disks", format!("the disk image {} {what}", path.display()), remedy)
}

/// Opens a file, and takes QEMU's locks on it.
///
/// # Errors
/// [`MachineConfigError`] for a path that cannot be opened, is neither a file nor a block device, or is in use.
pub fn open(path: &Path, read_only: bool) -> Result<OpenFile, MachineConfigError> {
    // Non-blocking, so that a FIFO is refused without waiting for its other end.
    let file = File::options().read(true).write(!read_only).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
                "Check the permissions; a disk that may only be read takes readOnly: true."
            }
            _ => remedy_of_open(&error, "Check the path and its permissions."),
        };
        refuse(path, format_args!("cannot be opened: {error}"), remedy)
    })?;
    let kind = file.metadata().map_err(|error| unreadable(path, &error))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refuse(path, "is neither a file nor a block device", "Name a disk image, or a block device."));
    }
    let lock = lock::take(&file, read_only).map_err(|what| {
        let remedy = match what {
            lock::TOO_MANY_FILES => "Close files, or raise this process's limit on open files (ulimit -n).",
            _ => "Stop the other user of the image, give each machine a copy, or read it only.",
        };
        refuse(path, what, remedy)
    })?;
    // The metadata of a block device does not have its length.
    let len = (&file).seek(SeekFrom::End(0)).map_err(|error| unreadable(path, &error))?;
    Ok(OpenFile { file, len, lock })
}

/// Returns the error of a file that is open but cannot be examined, which is rare.
pub fn unreadable(path: &Path, error: &io::Error) -> MachineConfigError {
    refuse(path, format_args!("cannot be used: {error}"), "Check the file and the device it is on.")
}
