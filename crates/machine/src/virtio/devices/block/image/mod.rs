//! The image of a disk: the files that store its contents.
//!
//! `raw` is one file, byte for byte; `qcow2` is QEMU's format; `format` detects formats. `file` opens files. `lock` takes QEMU's locks, so
//! that only one process at a time writes an image.

mod file;
mod format;
mod lock;
mod qcow2;
mod raw;

pub use format::ImageFormat;
pub use raw::{PUNCH, ZERO};

use crate::MachineConfigError;
use crate::virtio::throttle::ThrottleConfig;
use file::{OpenFile, refuse, unreadable};
use format::Detected;
use kvm_accel::guest_io::GuestRange;
use kvm_accel::{GuestRam, Warning, WarningCode};
use lock::Lock;
use qcow2::Qcow2Image;
use raw::RawImage;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a sector, the unit of offsets and lengths in requests.
pub const SECTOR: u64 = 512;

/// The most bytes in a slice of a read or write.
pub const SLICE: u64 = 1 << 20;

/// The configuration of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskConfig {
    /// The path of a file, or of a block device of the host.
    pub path: PathBuf,
    /// The image's format. `None`: it is detected, and the guest cannot write what would be detected as another format.
    pub format: Option<ImageFormat>,
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
    /// Warnings about the image.
    pub warnings: Vec<Warning>,
    /// See [`Image::has_lost`].
    lost: AtomicBool,
    /// The lock of a raw image, held as long as the image is open.
    _lock: Option<Lock>,
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
    /// [`MachineConfigError`] for a path that cannot be opened, an image of another format, a corrupt image, or one that is in use.
    pub fn open(config: &DiskConfig) -> Result<Self, MachineConfigError> {
        let DiskConfig { path, read_only, .. } = config;
        let open = file::open(path, *read_only)?;
        let format = match config.format {
            Some(format) => format,
            None => match Detected::of_file(&open.file, open.len).map_err(|error| unreadable(path, &error))? {
                Detected::Known(format) => format,
                Detected::Foreign(name) => return Err(refuse_foreign(path, name)),
            },
        };
        let mut warnings = Vec::new();
        let (medium, lock) = match format {
            ImageFormat::Raw => {
                let detected = config.format.is_none();
                if detected && !read_only {
                    warnings.push(detected_raw(path));
                }
                let OpenFile { file, len, lock } = open;
                (Medium::Raw(RawImage::new(file, len, detected)), Some(lock))
            }
            ImageFormat::Qcow2 => (Medium::Qcow2(Qcow2Image::open(open, path, *read_only, &mut warnings)?), None),
        };
        Ok(Self { medium, warnings, lost: AtomicBool::new(false), _lock: lock })
    }

    /// True if the guest's write of this range has to be checked, so that io_uring cannot do it.
    pub const fn is_guarded(&self, offset: u64, len: u64) -> bool {
        match &self.medium {
            Medium::Raw(raw) => raw.is_guarded(offset, len),
            Medium::Qcow2(_) => false,
        }
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

/// Returns the error of an image whose format was not stated and is not supported.
fn refuse_foreign(path: &Path, name: &str) -> MachineConfigError {
    let what = format_args!("begins or ends like a {name} image, which is not supported");
    let remedy = "Convert it with 'qemu-img convert -O qcow2 OLD NEW'. If the guest has written these bytes to a raw image, state the \
                  format 'raw'.";
    refuse(path, what, remedy)
}

/// Returns the warning of an image whose format was detected as raw.
fn detected_raw(path: &Path) -> Warning {
    let message = format!(
        "the format of the disk image {} was not stated, and was detected as raw: the guest cannot write what begins or ends like \
         another format. State the format 'raw' to allow that.",
        path.display()
    );
    Warning { code: WarningCode::DiskFormatDetected, message }
}
