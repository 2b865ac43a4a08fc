//! What a disk is made from, and where its bytes are.

use super::file::{self, OpenFile, refuse, unreadable};
use super::lock::Lock;
use super::qcow2::Qcow2Image;
use super::raw::RawImage;
use super::request::{Action, Status};
use crate::MachineConfigError;
use crate::virtio::throttle::ThrottleConfig;
use kvm_accel::GuestRam;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an image holds a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// Byte for byte.
    #[default]
    Raw,
    /// QEMU's format: only what was written takes room, and another image may be behind it.
    Qcow2,
}

impl FromStr for ImageFormat {
    type Err = MachineConfigError;

    fn from_str(name: &str) -> Result<Self, MachineConfigError> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            other => {
                let message = format!("there is no image format '{other}'");
                Err(MachineConfigError::new("disks", message, "Take 'raw' or 'qcow2'."))
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
    medium: Medium,
    flush_failed: AtomicBool,
    /// Held as long as the image is open.
    _lock: Lock,
}

#[derive(Debug)]
enum Medium {
    Raw(RawImage),
    Qcow2(Qcow2Image),
}

impl Image {
    /// Opens the image, and locks it against others who would write it.
    ///
    /// # Errors
    /// [`MachineConfigError`] for a path that cannot be opened, is no disk, or is in use.
    pub fn open(config: &DiskConfig) -> Result<Self, MachineConfigError> {
        let DiskConfig { path, read_only, .. } = config;
        let OpenFile { file, lock } = file::open(path, *read_only)?;
        let medium = match config.format {
            ImageFormat::Raw => RawImage::new(file).map(Medium::Raw).map_err(|error| unreadable(path, &error))?,
            ImageFormat::Qcow2 => {
                let image = Qcow2Image::new(file, path, *read_only).map(Medium::Qcow2);
                let remedy = "See what `qemu-img check` says of it.";
                image.map_err(|error| refuse(path, format_args!("cannot be used as qcow2: {error}"), remedy))?
            }
        };
        Ok(Self { medium, flush_failed: AtomicBool::new(false), _lock: lock })
    }

    /// The size of the disk.
    pub const fn sectors(&self) -> u64 {
        match &self.medium {
            Medium::Raw(raw) => raw.sectors(),
            Medium::Qcow2(qcow2) => qcow2.sectors(),
        }
    }

    /// The file to do requests on without this image's help, if it is as simple as that.
    pub const fn file(&self) -> Option<&Arc<File>> {
        match &self.medium {
            Medium::Raw(raw) => Some(raw.file()),
            Medium::Qcow2(_) => None,
        }
    }

    /// Does what a request asks for, and returns when it is done. `durable`: what is written is on the medium then.
    pub fn perform(&self, ram: &GuestRam, action: &Action, durable: bool) -> Status {
        let done = match (action, &self.medium) {
            (Action::Read { offset, ranges }, Medium::Raw(raw)) => raw.read(ram, ranges, *offset),
            (Action::Read { offset, ranges }, Medium::Qcow2(qcow2)) => qcow2.read(ram, ranges, *offset),
            (Action::Write { offset, ranges }, Medium::Raw(raw)) => raw.write(ram, ranges, *offset),
            (Action::Write { offset, ranges }, Medium::Qcow2(qcow2)) => qcow2.write(ram, ranges, *offset),
            (Action::Discard { offset, len }, Medium::Raw(raw)) => raw.discard(*offset, *len),
            (Action::Discard { offset, len }, Medium::Qcow2(qcow2)) => qcow2.discard(*offset, *len),
            (Action::WriteZeroes { offset, len, unmap }, Medium::Raw(raw)) => raw.write_zeroes(*offset, *len, *unmap),
            (Action::WriteZeroes { offset, len, unmap }, Medium::Qcow2(qcow2)) => {
                qcow2.write_zeroes(*offset, *len, *unmap)
            }
            (Action::Flush, _) => Ok(()),
            (Action::Id { .. }, _) => return Status::Unsupported,
            (Action::Refuse(status), _) => return *status,
        };
        let flush = matches!(action, Action::Flush) || (durable && !matches!(action, Action::Read { .. }));
        match done.and_then(|()| if flush { self.flush() } else { Ok(()) }) {
            Ok(()) => Status::Ok,
            Err(_) => Status::IoError,
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.flushed(|| match &self.medium {
            Medium::Raw(raw) => raw.flush(),
            Medium::Qcow2(qcow2) => qcow2.flush(),
        })
    }

    /// Whether a flush went wrong.
    pub fn flush_failed(&self) -> bool {
        self.flush_failed.load(Ordering::Acquire)
    }

    /// Somebody flushes the image and says how it went. Once it went wrong it never goes right: the kernel has dropped what it could not write,
    /// and tells that once.
    pub fn flushed(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.flush_failed() {
            return Err(Errno::IO.into());
        }
        flush().inspect_err(|_| self.flush_failed.store(true, Ordering::Release))
    }
}
