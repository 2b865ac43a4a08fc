//! Qcow2 images, read and written with the library imago.

use super::SECTOR;
use super::file::{self, OpenFile};
use super::lock::Lock;
use imago::file::File as Storage;
use imago::format::gate::ImplicitOpenGate;
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use kvm_accel::GuestRam;
use kvm_accel::guest_io::{GuestRange, behind, total};
use kvm_accel::lock;
use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress};

/// Bytes that are copied at a time. The library needs memory that nothing else writes, unlike guest memory.
const CHUNK: usize = 1 << 20;

/// The longest chain of backing images.
const DEEPEST: usize = 32;

pub struct Qcow2Image {
    /// `None` after the library has panicked: its state of the image may be wrong.
    image: Mutex<Option<FormatAccess<Storage>>>,
    sectors: u64,
    /// The locks of the backing images and the data file.
    _locks: Vec<Lock>,
}

impl fmt::Debug for Qcow2Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qcow2Image").field("sectors", &self.sectors).finish_non_exhaustive()
    }
}

impl Qcow2Image {
    /// Opens the image in `file`. Relative names of other files in it are resolved against `path`.
    pub fn new(file: std::fs::File, path: &Path, read_only: bool) -> io::Result<Self> {
        check_header(&file)?;
        let gate = Gate { locks: Arc::default(), depth: 0 };
        let locks = Arc::clone(&gate.locks);
        let image = guarded(|| {
            let options = StorageOpenOptions::new().filename(path).write(!read_only);
            let builder = Qcow2::<Storage>::builder(Storage::from_open_file(file, options)?).write(!read_only);
            builder.open(gate).map(FormatAccess::new)
        })?;
        let locks = std::mem::take(&mut *lock(&locks));
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
        let mut image = place.take().ok_or_else(|| io::Error::other("the image was given up"))?;
        // The image is put back only if the library returned without a panic.
        let (image, result) = guarded(move || {
            let result = call(&mut image);
            Ok((image, result))
        })?;
        *place = Some(image);
        result
    }
}

/// Refuses tables larger than QEMU's limits before memory is allocated for them, and refcount tables with holes.
fn check_header(file: &std::fs::File) -> io::Result<()> {
    let mut header = [0; 64];
    let read = file.read_exact_at(&mut header, 0);
    if read.is_err() || header[..4] != *b"QFI\xfb" {
        // The file is too short or is not a qcow2 image. The library reports that, or it is a raw backing image.
        return Ok(());
    }
    let word = |at: usize| u64::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let (cluster_bits, l1_entries, refcount_clusters, snapshots) = (word(20), word(36), word(56), word(60));
    let refcount_bytes = refcount_clusters.checked_shl(u32::try_from(cluster_bits).unwrap_or(u32::MAX));
    let fits = (9..=21).contains(&cluster_bits)
        && l1_entries <= (32 << 20) / 8
        && refcount_bytes.is_some_and(|bytes| bytes <= 8 << 20)
        && snapshots <= 1 << 16;
    if !fits {
        return Err(io::Error::other("its tables are larger than any image needs"));
    }
    // Refcount blocks are allocated in order and never freed. If one is missing, the library's search for free space in front of it never
    // ends.
    let bytes = usize::try_from(refcount_bytes.unwrap_or(0)).map_err(io::Error::other)?;
    let mut table = vec![0; bytes];
    file.read_exact_at(&mut table, word(48) << 32 | word(52))?;
    let mut blocks = table.chunks_exact(8).skip_while(|entry| entry.iter().any(|byte| *byte != 0));
    let whole = table.iter().take(8).any(|byte| *byte != 0) && blocks.all(|entry| entry.iter().all(|byte| *byte == 0));
    if whole { Ok(()) } else { Err(io::Error::other("its refcount table has holes")) }
}

/// Calls the library and catches a panic: a corrupt image may violate an assumption of the library.
fn guarded<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(io::Error::other("the image's tables cannot be")))
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

/// Opens the files that an image refers to: its backing images, read-only, and its data file. All of them are locked like the image.
#[derive(Clone)]
struct Gate {
    locks: Arc<Mutex<Vec<Lock>>>,
    depth: usize,
}

impl ImplicitOpenGate<Storage> for Gate {
    fn open_format<F: FormatDriverBuilder<Storage>>(&mut self, builder: F) -> io::Result<FormatAccess<Storage>> {
        if self.depth >= DEEPEST {
            return Err(io::Error::other(format!("more than {DEEPEST} backing images, or one that backs itself")));
        }
        builder.open(Self { depth: self.depth + 1, ..self.clone() }).map(FormatAccess::new)
    }

    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<Storage> {
        let path = options.get_filename().ok_or(io::ErrorKind::InvalidInput)?;
        let OpenFile { file, lock: image_lock } =
            file::open(path, !options.get_writable()).map_err(io::Error::other)?;
        lock(&self.locks).push(image_lock);
        check_header(&file)?;
        Storage::from_open_file(file, options)
    }
}
