//! What a disk is made from, and where its bytes are.

use super::lock::{self, Lock};
use super::raw::RawImage;
use super::request::{Action, SECTOR, Status};
use crate::MachineConfigError;
use crate::virtio::throttle::ThrottleConfig;
use kvm_accel::GuestRam;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// How an image holds a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// Byte for byte.
    #[default]
    Raw,
}

impl FromStr for ImageFormat {
    type Err = MachineConfigError;

    fn from_str(name: &str) -> Result<Self, MachineConfigError> {
        match name {
            "raw" => Ok(Self::Raw),
            other => {
                let message = format!("there is no image format '{other}'");
                Err(MachineConfigError::new("disks", message, "Take 'raw'."))
            }
        }
    }
}

/// What a disk is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// A file, or a block device of the host.
    pub path: PathBuf,
    /// How it holds the disk. It is never guessed: a guest could write the header of another format.
    pub format: ImageFormat,
    /// The guest cannot write, and the file is opened for reading.
    pub read_only: bool,
    /// What the guest reads as the disk's serial number, 20 bytes at most.
    pub serial: String,
    /// What the guest discards is given back to the host.
    pub discard: bool,
    /// Rate limits.
    pub throttle: ThrottleConfig,
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    raw: RawImage,
    sectors: u64,
    /// Held as long as the image is open.
    _lock: Lock,
}

/// An image cannot be opened: `what` follows the path in the message.
fn refuse(path: &Path, what: impl std::fmt::Display, remedy: &'static str) -> MachineConfigError {
    MachineConfigError::new("disks", format!("the disk image {} {what}", path.display()), remedy)
}

impl Image {
    /// Opens the image, and locks it against others who would write it.
    ///
    /// # Errors
    /// [`MachineConfigError`] for a path that cannot be opened, is no disk, or is in use.
    pub fn open(config: &DiskConfig) -> Result<Self, MachineConfigError> {
        let DiskConfig { path, read_only, .. } = config;
        // Non-blocking: a FIFO is refused, not waited for.
        let file = File::options().read(true).write(!read_only).custom_flags(libc::O_NONBLOCK).open(path);
        let file = file.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !read_only => {
                    "Check the permissions; a disk that may only be read takes readOnly: true."
                }
                _ => "Check the path and its permissions.",
            };
            refuse(path, format_args!("cannot be opened: {error}"), remedy)
        })?;
        let unreadable = |error: io::Error| {
            refuse(path, format_args!("cannot be used: {error}"), "Check the file and the device it is on.")
        };
        let kind = file.metadata().map_err(unreadable)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(refuse(path, "is neither a file nor a block device", "Name a disk image, or a block device."));
        }
        let lock = lock::take(&file, *read_only).map_err(|what| {
            refuse(path, what, "Stop the other user of the image, give each machine a copy, or read it only.")
        })?;
        let file = Arc::new(file);
        match config.format {
            ImageFormat::Raw => {
                let raw = RawImage::new(file).map_err(unreadable)?;
                Ok(Self { sectors: raw.len().div_ceil(SECTOR), raw, _lock: lock })
            }
        }
    }

    /// The size of the disk; a last sector that is not whole in the file is filled up with zeroes.
    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// The file to do requests on without this image's help, if it is as simple as that.
    pub const fn file(&self) -> Option<&Arc<File>> {
        Some(self.raw.file())
    }

    /// Does what a request asks for, and returns when it is done. `durable`: what is written is on the medium then.
    pub fn perform(&self, ram: &GuestRam, action: &Action, durable: bool) -> Status {
        let done = match action {
            Action::Read { offset, ranges } => self.raw.read(ram, ranges, *offset),
            Action::Write { offset, ranges } => self.raw.write(ram, ranges, *offset),
            Action::Discard { offset, len } => self.raw.discard(*offset, *len),
            Action::WriteZeroes { offset, len, unmap } => self.raw.write_zeroes(*offset, *len, *unmap),
            Action::Flush => Ok(()),
            Action::Id { .. } => return Status::Unsupported,
            Action::Refuse(status) => return *status,
        };
        let flush = matches!(action, Action::Flush) || (durable && !matches!(action, Action::Read { .. }));
        match done.and_then(|()| if flush { self.flush() } else { Ok(()) }) {
            Ok(()) => Status::Ok,
            Err(_) => Status::IoError,
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.flushed(|file| Ok(rustix::fs::fdatasync(file)?))
    }

    /// Whether a flush went wrong.
    pub fn flush_failed(&self) -> bool {
        self.raw.flush_failed()
    }

    /// Somebody flushes the file and says how it went. Once it went wrong it never goes right: the kernel has dropped what it could not write,
    /// and tells that once.
    pub fn flushed(&self, flush: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.raw.flush(flush)
    }
}
