//! Maps a machine's RAM.

use super::room::{Room, room};
use super::{HugePages, file, huge_pages};
use crate::layout::{PAGE_SIZE, RamLayout};
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use kvm_accel::{GuestRam, GuestRegion, PopulateError};
use rustix::fs::{MemfdFlags, SealFlags, fstat, fstatfs};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};

/// Files of tmpfs, and memfds, are memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The source of RAM and how it is mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RamBackend {
    /// The memory that is mapped.
    pub source: RamSource,
    /// Maps the source as shared: the guest's writes reach it and every process that maps it. Otherwise the mapping is
    /// private to this process.
    pub share: bool,
    /// Has the host provide every page before the guest starts. If it cannot, the machine is not created.
    pub prealloc: bool,
    /// Leaves RAM out of core dumps of this process.
    pub no_dump: bool,
}

/// The memory that is mapped as RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RamSource {
    /// Anonymous memory of this process.
    Anonymous(Option<HugePages>),
    /// A memfd, sealed against truncation.
    Memfd(Option<HugePages>),
    /// The file at this path, or an unnamed file in this directory.
    File(PathBuf),
}

impl Default for RamSource {
    fn default() -> Self {
        Self::Anonymous(None)
    }
}

/// The file behind RAM, if there is one, and its page size.
struct Source {
    file: Option<Arc<File>>,
    /// Flags of mmap besides private and shared.
    flags: i32,
    page: u64,
    /// No other process can open the file.
    own: bool,
}

/// Maps the RAM of `layout`. The host allocates only the pages that the guest touches, unless [`RamBackend::populate`]
/// follows. The RAM is unmapped when the last clone is dropped.
///
/// # Errors
/// Fails if this process cannot map that much (address space, `ulimit -v`), the host has too few huge pages, or the
/// file is unsuitable: missing directory, too short, no multiple of its pages, no permission.
pub fn allocate(layout: &RamLayout, backend: &RamBackend) -> Result<GuestRam, MachineConfigError> {
    let size = layout.size();
    let refuse = |reason: &dyn std::fmt::Display| {
        let message = format!("cannot map memory of {size} bytes: {reason}");
        MachineConfigError::new("memory", message, "Use less memory, or raise this process's limit (ulimit -v).")
    };
    let huge = match &backend.source {
        RamSource::Anonymous(huge) | RamSource::Memfd(huge) => *huge,
        RamSource::File(_) => None,
    };
    if let Some(huge) = huge {
        huge.check_size(size)?;
    }
    let source = match &backend.source {
        RamSource::Anonymous(huge) => Source::anonymous(*huge),
        RamSource::Memfd(huge) => {
            Source::memfd(size, *huge).map_err(|error| explain(&error, huge.as_ref(), size, &refuse))?
        }
        RamSource::File(path) => {
            let (file, page) = file::open(path, size, backend.share)?;
            // Without MAP_NORESERVE. Otherwise the guest would be the first to find that the file system is full.
            Source { file: Some(Arc::new(file)), flags: 0, page, own: path.is_dir() }
        }
    };
    // Includes the huge pages of hugetlbfs.
    let huge = HugePages::new(source.page).ok();
    let visibility = if backend.share { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    let mut offset = 0;
    let regions = layout
        .ranges()
        .map(|range| {
            let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let file = source.file.as_ref().map(|file| FileOffset::from_arc(Arc::clone(file), offset));
            offset += range.end - range.start;
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, visibility | source.flags);
            // Maps once as a trial: the second call allocates its bitmap first, which aborts the process for a size
            // that cannot be mapped.
            drop(MmapRegion::<()>::build(file.clone(), len, protection, flags).map_err(io::Error::other)?);
            let mapping = MmapRegion::build(file, len, protection, flags).map_err(io::Error::other)?;
            GuestRegion::new(mapping, GuestAddress(range.start)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| explain(&error, huge.as_ref(), size, &refuse))?;
    let page = usize::try_from(source.page).map_err(|error| refuse(&error))?;
    let ram = GuestRam::from_regions(regions, page, source.own).map_err(|error| refuse(&error))?;
    if backend.no_dump {
        ram.exclude_from_dumps().map_err(|error| refuse(&format!("it cannot be left out of core dumps: {error}")))?;
    }
    Ok(ram)
}

impl RamBackend {
    /// With `prealloc`, has the host provide every page of RAM that [`allocate`] has mapped. Without it, does nothing.
    ///
    /// # Errors
    /// [`SetupError::Config`] when the host has too little memory or too few huge pages, if possible before any page is provided:
    /// a host that runs out of memory meanwhile may kill this process. [`SetupError::Cancelled`] within about 10 ms of
    /// [`Cancel::cancel`].
    pub fn populate(&self, ram: &GuestRam, cancel: &Cancel) -> Result<(), SetupError> {
        if !self.prealloc {
            return Ok(());
        }
        self.check_room(ram, room())?;
        ram.populate(cancel).map_err(|error| match error {
            PopulateError::Cancelled(cancelled) => cancelled.into(),
            PopulateError::Host(error) => {
                let size = ram.iter().map(GuestMemoryRegion::len).sum();
                let huge = HugePages::new(ram.page_size() as u64).ok();
                explain(&error, huge.as_ref(), size, &|reason| refuse_populating(size, reason)).into()
            }
        })
    }
}

impl RamBackend {
    /// Checks that the host can provide every page. Huge pages were reserved when they were mapped.
    fn check_room(&self, ram: &GuestRam, room: Option<Room>) -> Result<(), MachineConfigError> {
        if ram.page_size() as u64 != PAGE_SIZE {
            return Ok(());
        }
        let size: u64 = ram.iter().map(GuestMemoryRegion::len).sum();
        let refuse = |reason: &dyn std::fmt::Display| refuse_populating(size, reason);
        let region = ram.iter().next().and_then(GuestMemoryRegion::file_offset);
        let file = region.map(FileOffset::file).filter(|_| self.share);
        let needed = match file.and_then(|file| fstat(file).ok().zip(fstatfs(file).ok())) {
            // Anonymous memory: this process's own, or copies of a file's pages.
            None => size,
            Some((stat, fs)) => {
                let needed = size.saturating_sub(u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
                let free = fs.f_bavail.saturating_mul(u64::try_from(fs.f_bsize).unwrap_or(0));
                // A file system without a limit has no blocks.
                if fs.f_blocks != 0 && free < needed {
                    return Err(refuse(&format_args!("the file system of the memory file has {free} free bytes")));
                }
                // The host writes the pages of other files to their disk.
                if fs.f_type == TMPFS_MAGIC { needed } else { 0 }
            }
        };
        room.filter(|room| room.bytes < needed).map_or(Ok(()), |room| Err(refuse(&room)))
    }
}

fn refuse_populating(size: u64, reason: &dyn std::fmt::Display) -> MachineConfigError {
    let message = format!("cannot preallocate memory of {size} bytes: {reason}");
    MachineConfigError::new("memory", message, "Use less memory, or omit prealloc.")
}

/// Attributes an error with huge pages to a lack of them, if the host has too few.
fn explain(
    error: &io::Error,
    huge: Option<&HugePages>,
    size: u64,
    otherwise: &dyn Fn(&dyn std::fmt::Display) -> MachineConfigError,
) -> MachineConfigError {
    huge.and_then(|huge| huge_pages::shortage(*huge, size)).unwrap_or_else(|| otherwise(error))
}

impl Source {
    fn anonymous(huge: Option<HugePages>) -> Self {
        // Huge pages are reserved, so that a lack of them is an error at the mapping and not a SIGBUS later.
        let flags = libc::MAP_ANONYMOUS | huge.map_or(libc::MAP_NORESERVE, HugePages::mmap_flags);
        Self { file: None, flags, page: huge.map_or(PAGE_SIZE, HugePages::bytes), own: true }
    }

    fn memfd(size: u64, huge: Option<HugePages>) -> io::Result<Self> {
        let flags = huge.map_or(MemfdFlags::empty(), HugePages::memfd_flags);
        let fd = rustix::fs::memfd_create("kvm-accel-ram", flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, size)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let flags = if huge.is_some() { 0 } else { libc::MAP_NORESERVE };
        Ok(Self {
            file: Some(Arc::new(File::from(fd))),
            flags,
            page: huge.map_or(PAGE_SIZE, HugePages::bytes),
            own: true,
        })
    }
}
