//! The image of a disk: the files that store its contents.
//!
//! `raw` is one file, byte for byte; `qcow2` is QEMU's format. `file` opens files. `lock` takes QEMU's locks, so that only one process at a
//! time writes an image.

mod file;
mod lock;
mod qcow2;
mod raw;

pub use raw::{PUNCH, ZERO};

use crate::MachineConfigError;
use crate::virtio::throttle::ThrottleConfig;
use file::{OpenFile, refuse, unreadable};
use kvm_accel::GuestRam;
use kvm_accel::guest_io::GuestRange;
use lock::Lock;
use qcow2::Qcow2Image;
use raw::RawImage;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a sector, the unit of offsets and lengths in requests.
pub const SECTOR: u64 = 512;

/// The most bytes in a slice of a read or write.
pub const SLICE: u64 = 1 << 20;

/// The format of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// The file has the disk's contents, byte for byte.
    #[default]
    Raw,
    /// QEMU's format. Only written clusters take space, and an image may have a backing image.
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

/// The configuration of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// The path of a file, or of a block device of the host.
    pub path: PathBuf,
    /// The image's format. It is never probed: a guest could write the header of another format to a raw image.
    pub format: ImageFormat,
    /// The guest cannot write, and the file is opened read-only.
    pub read_only: bool,
    /// The serial number that the guest reads, at most 20 bytes.
    pub serial: String,
    /// The host frees the space that the guest discards.
    pub discard: bool,
    /// Rate limits.
    pub throttle: ThrottleConfig,
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    medium: Medium,
    /// See [`Image::has_lost`].
    lost: AtomicBool,
    /// Held as long as the image is open.
    _lock: Lock,
}

#[derive(Debug)]
enum Medium {
    Raw(RawImage),
    Qcow2(Qcow2Image),
}

impl Image {
    /// Opens the image, and takes QEMU's locks on it.
    ///
    /// # Errors
    /// [`MachineConfigError`] for a path that cannot be opened, is not an image of a disk, or is in use.
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
        Ok(Self { medium, lost: AtomicBool::new(false), _lock: lock })
    }

    /// Returns the size of the disk in sectors.
    pub const fn sectors(&self) -> u64 {
        match &self.medium {
            Medium::Raw(raw) => raw.sectors(),
            Medium::Qcow2(qcow2) => qcow2.sectors(),
        }
    }

    /// Returns the file of a raw image, on which requests can be done directly.
    pub const fn file(&self) -> Option<&Arc<File>> {
        match &self.medium {
            Medium::Raw(raw) => Some(raw.file()),
            Medium::Qcow2(_) => None,
        }
    }

    /// Returns the most bytes of one discard or write-zeroes call. Calls that end at its multiples split no cluster.
    pub const fn extent(&self) -> u64 {
        match &self.medium {
            Medium::Raw(_) => 8 << 20,
            Medium::Qcow2(_) => 2 << 20,
        }
    }

    /// Reads the disk into guest memory.
    pub fn read(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        match &self.medium {
            Medium::Raw(raw) => raw.read(ram, ranges, offset),
            Medium::Qcow2(qcow2) => qcow2.read(ram, ranges, offset),
        }
    }

    /// Writes guest memory to the disk.
    pub fn write(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        match &self.medium {
            Medium::Raw(raw) => raw.write(ram, ranges, offset),
            Medium::Qcow2(qcow2) => qcow2.write(ram, ranges, offset),
        }
    }

    /// Discards the contents of a range.
    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        match &self.medium {
            Medium::Raw(raw) => raw.discard(offset, len),
            Medium::Qcow2(qcow2) => qcow2.discard(offset, len),
        }
    }

    /// Fills a range with zeroes, or only its first part. Returns the number of bytes filled.
    pub fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<u64> {
        match &self.medium {
            Medium::Raw(raw) => raw.write_zeroes(offset, len, unmap),
            Medium::Qcow2(qcow2) => qcow2.write_zeroes(offset, len, unmap).map(|()| len),
        }
    }

    /// Makes all earlier writes durable.
    pub fn flush(&self) -> io::Result<()> {
        self.flushed(|| match &self.medium {
            Medium::Raw(raw) => raw.flush(),
            Medium::Qcow2(qcow2) => qcow2.flush(),
        })
    }

    /// True if the kernel has reported the loss of written data. From then on every flush has to fail, because the kernel drops data that
    /// it failed to write and reports that only once.
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Records that the kernel has reported a loss.
    pub fn note_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Flushes with `flush`, and records its failure as a loss.
    pub fn flushed(&self, flush: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.has_lost() {
            return Err(Errno::IO.into());
        }
        flush().inspect_err(|_| self.note_lost())
    }
}
