//! Qcow2 images, read and written with the library imago.
//!
//! - `header`: reads the header, and refuses what the library cannot use safely.
//! - `tables`: checks all tables before a guest may write. `census`: counts references to clusters.
//! - `bitmaps`: the names of persistent bitmaps. `fault`: why an image is refused.
//! - `chain`: opens an image with its backing files.

mod bitmaps;
mod census;
mod chain;
mod fault;
mod header;
mod tables;

use super::SECTOR;
use super::file::OpenFile;
use super::lock::Lock;
use crate::MachineConfigError;
use chain::Chain;
use imago::FormatAccess;
use imago::file::File as Storage;
use kvm_accel::guest_io::{GuestRange, behind, total};
use kvm_accel::{GuestRam, Warning, lock};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use vm_memory::{Bytes, GuestAddress};

/// Bytes that are copied at a time. The library needs memory that nothing else writes, unlike guest memory.
const CHUNK: usize = 1 << 20;

pub struct Qcow2Image {
    /// `None` after the library has panicked: its state of the image may be wrong.
    image: Mutex<Option<FormatAccess<Storage>>>,
    sectors: u64,
    /// The locks of the image and its backing files.
    _locks: Vec<Lock>,
}

impl fmt::Debug for Qcow2Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Image").field("sectors", &self.sectors).finish_non_exhaustive()
    }
}

impl Qcow2Image {
    /// Opens the image in `file` with its backing files. Relative names of backing files are resolved against `path`. Adds a warning
    /// for the features that opening the image for writing invalidates.
    ///
    /// # Errors
    /// [`MachineConfigError`] for an image that is corrupt, has unsupported features, or has a backing file that cannot be used.
    pub fn open(
        file: OpenFile,
        path: &Path,
        read_only: bool,
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, MachineConfigError> {
        let mut chain = Chain { locks: Vec::new(), warnings };
        let image = chain.open_qcow2(file, path, read_only, 0)?;
        let locks = chain.locks;
        Ok(Self { sectors: image.size() / SECTOR, image: Mutex::new(Some(image)), _locks: locks })
    }

    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    pub fn read(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        chunks(ranges, offset, |at, bytes, ranges| {
            self.with(|image| image.read(&mut *bytes, at))?;
            copy(ranges, bytes, |bytes, address| ram.write_slice(bytes, address))
        })
    }

    pub fn write(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        chunks(ranges, offset, |at, bytes, ranges| {
            copy(ranges, bytes, |bytes, address| ram.read_slice(bytes, address))?;
            self.with(|image| image.write(&*bytes, at))
        })
    }

    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.with(|image| image.discard_to_any(offset, len))
    }

    pub fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.with(|image| if unmap { image.discard_to_zero(offset, len) } else { image.write_zeroes(offset, len) })
    }

    /// Writes the cached tables, and then flushes the files to the medium.
    pub fn flush(&self) -> io::Result<()> {
        self.with(|image| image.flush().and_then(|()| image.sync()))
    }

    fn with(&self, call: impl FnOnce(&mut FormatAccess<Storage>) -> io::Result<()>) -> io::Result<()> {
        let mut place = lock(&self.image);
        let mut image = place.take().ok_or_else(|| io::Error::other("the qcow2 library has panicked before"))?;
        let mut panicked = true;
        let result = guarded(|| {
            let result = call(&mut image);
            panicked = false;
            result
        });
        if panicked {
            close(image);
        } else {
            *place = Some(image);
        }
        result
    }
}

impl Drop for Qcow2Image {
    fn drop(&mut self) {
        let place = self.image.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        place.take().into_iter().for_each(close);
    }
}

/// Closes an image. The library then writes its cached tables, which may panic, too. A panic while another one unwinds would abort the
/// process.
fn close(image: FormatAccess<Storage>) {
    let _ = guarded(|| {
        drop(image);
        Ok(())
    });
}

/// Calls the library and catches a panic: a corrupt image may violate an assumption of the library.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(io::Error::other("the qcow2 library panicked, which a corrupt image can cause")))
}

/// Calls `each` for pieces of at most [`CHUNK`] bytes, with the offset on the disk, a buffer as long as the piece, and its ranges of guest
/// memory.
fn chunks(
    ranges: &[GuestRange],
    offset: u64,
    mut each: impl FnMut(u64, &mut Vec<u8>, &[GuestRange]) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    let mut buffer = Vec::new();
    while done < total(ranges) {
        let rest: Vec<_> = behind(ranges, done).collect();
        let len = usize::try_from(total(&rest)).unwrap_or(CHUNK).min(CHUNK);
        buffer.resize(len, 0);
        each(offset + done, &mut buffer, &rest)?;
        done += len as u64;
    }
    Ok(())
}

/// Copies consecutive parts of `bytes` from or to these ranges.
fn copy<E: std::error::Error + Send + Sync + 'static>(
    ranges: &[GuestRange],
    mut bytes: &mut [u8],
    each: impl Fn(&mut [u8], GuestAddress) -> Result<(), E>,
) -> io::Result<()> {
    for range in ranges {
        let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = std::mem::take(&mut bytes).split_at_mut(len);
        each(part, GuestAddress(range.address)).map_err(io::Error::other)?;
        bytes = rest;
    }
    Ok(())
}
