//! Raw images: a file or block device with the disk's contents, byte for byte.

use super::format::{Detected, ImageFormat, Place};
use super::{SECTOR, SLICE};
use kvm_accel::GuestRam;
use kvm_accel::guest_io::{self, GuestRange, behind, total};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

/// Zeroes to write on file systems without a system call for that.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// The flags that free space, and the flags that only zero a range.
pub const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
pub const ZERO: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);

#[derive(Debug)]
pub struct RawImage {
    file: Arc<File>,
    /// The length of the file when it was opened.
    len: u64,
    /// The format was detected. The guest must not write what the next start would detect as another format.
    detected: bool,
}

impl RawImage {
    pub fn new(file: File, len: u64, detected: bool) -> Self {
        Self { file: Arc::new(file), len, detected }
    }

    /// True if a write of this range has to be checked before it is done: it includes a sector that determines the detected format.
    pub const fn is_guarded(&self, offset: u64, len: u64) -> bool {
        self.detected && (offset < SECTOR || offset + len > self.len.saturating_sub(SECTOR))
    }

    /// Returns the number of sectors. The last sector may be partly beyond the end of the file; reads fill it up with zeroes.
    pub const fn sectors(&self) -> u64 {
        self.len.div_ceil(SECTOR)
    }

    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Only the end of the last sector, beyond the end of the file, reads as zeroes. Reading a file that has become shorter fails.
    pub fn read(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        let done = guest_io::read_at(ram, &self.file, ranges, offset)?;
        let missing = total(ranges) - done;
        if missing >= SECTOR || (missing > 0 && offset + done < self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for range in behind(ranges, done) {
            let len = usize::try_from(range.len).map_err(io::Error::other)?;
            ram.write_slice(&ZEROES[..len], GuestAddress(range.address)).map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub fn write(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        if self.is_guarded(offset, total(ranges)) {
            return self.write_guarded(ram, ranges, offset);
        }
        guest_io::write_at(ram, &self.file, ranges, offset).map(|_| ())
    }

    /// Writes a copy, because the guest could change its memory after the check. As in QEMU, a write that would change the detected format
    /// fails.
    fn write_guarded(&self, ram: &GuestRam, ranges: &[GuestRange], offset: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(total(ranges)).map_err(io::Error::other)?];
        let mut rest = &mut bytes[..];
        for range in ranges {
            let len = usize::try_from(range.len).unwrap_or(usize::MAX).min(rest.len());
            let (part, more) = std::mem::take(&mut rest).split_at_mut(len);
            ram.read_slice(part, GuestAddress(range.address)).map_err(io::Error::other)?;
            rest = more;
        }
        for (place, at) in self.telling_sectors() {
            if let Some(sector) = self.sector_after(at, &bytes, offset)?
                && Detected::of_sector(place, &sector) != Detected::Known(ImageFormat::Raw)
            {
                return Err(Errno::PERM.into());
            }
        }
        self.file.write_all_at(&bytes, offset)
    }

    /// Returns the sectors by which the next start detects the format. The last sector of a file that ends within a sector counts, too: a
    /// write to it makes the file longer.
    fn telling_sectors(&self) -> impl Iterator<Item = (Place, u64)> {
        let last = self.sectors().checked_sub(1).map(|sector| (Place::Last, sector * SECTOR));
        std::iter::once((Place::First, 0)).chain(last)
    }

    /// Returns what the sector at `at` contains after a write of `bytes` at `offset`; `None` if the write does not include it. A slice of a
    /// request may begin or end within a sector.
    fn sector_after(&self, at: u64, bytes: &[u8], offset: u64) -> io::Result<Option<[u8; 512]>> {
        let from = at.saturating_sub(offset).min(bytes.len() as u64);
        let to = (at + SECTOR).saturating_sub(offset).min(bytes.len() as u64);
        if from == to {
            return Ok(None);
        }
        let mut sector = [0; 512];
        if to - from < SECTOR {
            let present = usize::try_from(self.file.metadata()?.len().saturating_sub(at).min(SECTOR)).unwrap_or(0);
            self.file.read_exact_at(&mut sector[..present], at)?;
        }
        let index = |value: u64| usize::try_from(value).map_err(io::Error::other);
        let part = bytes.get(index(from)?..index(to)?).unwrap_or_default();
        let start = index((offset + from) - at)?;
        sector[start..start + part.len()].copy_from_slice(part);
        Ok(Some(sector))
    }

    /// Frees the space of a range, if the host supports that.
    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        match self.fallocate(PUNCH, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Zeroes a range. On a file system without a system call for that, writes at most a slice of zeroes. Returns the number of bytes
    /// zeroed.
    pub fn write_zeroes(&self, offset: u64, len: u64, unmap: bool) -> io::Result<u64> {
        let modes = [PUNCH, ZERO];
        if modes[usize::from(!unmap)..].iter().any(|&mode| self.fallocate(mode, offset, len).is_ok()) {
            return Ok(len);
        }
        let end = len.min(SLICE);
        let mut done = 0;
        while done < end {
            let count = (end - done).min(ZEROES.len() as u64);
            let zeroes = usize::try_from(count).ok().and_then(|count| ZEROES.get(..count)).unwrap_or_default();
            self.file.write_all_at(zeroes, offset + done)?;
            done += count;
        }
        Ok(end)
    }

    fn fallocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> Result<(), Errno> {
        if len == 0 {
            Ok(())
        } else {
            rustix::io::retry_on_intr(|| rustix::fs::fallocate(&*self.file, mode, offset, len))
        }
    }

    pub fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&*self.file)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scratch::Scratch;

    /// An image of this many bytes whose format was detected, and guest memory with `bytes` at its start.
    fn image(folder: &Scratch, len: usize, bytes: &[u8]) -> (RawImage, GuestRam) {
        let path = folder.path().join("image");
        std::fs::write(&path, vec![7; len]).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        ram.write_slice(bytes, GuestAddress(0)).unwrap();
        (RawImage::new(file, len as u64, true), ram)
    }

    #[test]
    fn a_write_cannot_complete_a_file_of_part_sectors_to_one_of_another_format() {
        let folder = Scratch::new();
        let sector = [&b"conectix"[..], &[0; 504]].concat();
        for len in [100, 1000, 4097] {
            let (image, ram) = image(&folder, len, &sector);
            let last = (image.sectors() - 1) * SECTOR;
            let error = image.write(&ram, &[GuestRange { address: 0, len: 512 }], last).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{len}");
            assert_eq!(image.file().metadata().unwrap().len(), len as u64);
            image.write(&ram, &[GuestRange { address: 512, len: 512 }], last).unwrap();
        }
    }

    #[test]
    fn slices_that_end_within_a_sector_are_checked_as_the_sector_that_they_make() {
        let folder = Scratch::new();
        let (image, ram) = image(&folder, 4096, b"conectix");
        for last in [0, 3584] {
            image.write(&ram, &[GuestRange { address: 0, len: 3 }], last).unwrap();
            assert!(image.write(&ram, &[GuestRange { address: 3, len: 5 }], last + 3).is_err(), "{last}");
            image.write(&ram, &[GuestRange { address: 8, len: 5 }], last + 3).unwrap();
        }
    }
}
