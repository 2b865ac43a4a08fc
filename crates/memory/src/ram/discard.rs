//! Returns pages of guest RAM to the host.

use super::{GuestRam, GuestRegion};
use rustix::fs::{FallocateFlags, fallocate};
use std::io;
use std::ops::Range;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

impl GuestRam {
    /// Returns a range of guest physical addresses to the host. The pages read as zeroes afterwards, and use no memory
    /// until the guest or the host touches them. Partial pages stay unchanged, also partial huge pages, and addresses
    /// that are not RAM are skipped. Returns the number of bytes that were discarded.
    ///
    /// ```
    /// use kvm_accel_memory::GuestRam;
    /// use vm_memory::{Bytes, GuestAddress};
    ///
    /// let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x4000)])?;
    /// ram.write_obj(7_u8, GuestAddress(0x1000))?;
    /// assert_eq!(ram.discard(0xfff..0x2fff)?, 0x1000);
    /// assert_eq!(ram.read_obj::<u8>(GuestAddress(0x1000))?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Unsupported` for a private mapping of a user's file, because the file's bytes would reappear in place of
    /// zeroes. Otherwise the error of the system call: the file system does not support holes, the memory is locked, or
    /// the pages are private huge pages before Linux 5.18.
    pub fn discard(&self, range: Range<u64>) -> io::Result<u64> {
        let mut bytes = 0;
        for region in self.iter() {
            let Some((offset, len)) = whole_pages(region, &range, self.page_size() as u64) else { continue };
            give_back(region, offset, len, self.has_own_files())?;
            // Marked after the discard: a reader of the log that copies the pages in between would otherwise keep the
            // old contents.
            region.bitmap().mark_dirty(offset, len);
            bytes += len as u64;
        }
        Ok(bytes)
    }
}

/// Returns the whole pages of a region that lie in a range, as offset and length.
fn whole_pages(region: &GuestRegion, range: &Range<u64>, page: u64) -> Option<(usize, usize)> {
    let base = region.start_addr().raw_value();
    let start = range.start.saturating_sub(base).checked_next_multiple_of(page)?;
    let end = range.end.saturating_sub(base).min(region.len());
    let len = end.checked_sub(start)? / page * page;
    (len > 0).then_some((usize::try_from(start).ok()?, usize::try_from(len).ok()?))
}

fn give_back(region: &GuestRegion, offset: usize, len: usize, own_files: bool) -> io::Result<()> {
    if region.flags() & libc::MAP_SHARED != 0 {
        // Removes the pages from the mapping and from the file behind it. Shared anonymous memory has such a file, too.
        return advise(region, offset, len, libc::MADV_REMOVE);
    }
    match region.file_offset() {
        None => advise(region, offset, len, libc::MADV_DONTNEED),
        Some(file) if own_files => {
            advise(region, offset, len, libc::MADV_DONTNEED)?;
            // Each page that the guest has touched is also allocated in the file, as zeroes.
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(fallocate(file.file(), flags, file.start() + offset as u64, len as u64)?)
        }
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Calls `madvise`. `offset` and `len` are whole pages inside the region.
fn advise(region: &GuestRegion, offset: usize, len: usize, advice: i32) -> io::Result<()> {
    // SAFETY: the range lies in the region, which is a mapping of our own and lives as long as the borrow. Both kinds
    // of advice make its bytes zero and keep it mapped. Guest memory may change at any time and has no invalid values,
    // and no Rust reference points into it.
    match unsafe { libc::madvise(region.as_ptr().add(offset).cast(), len, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use vm_memory::{Bytes, FileOffset, GuestAddress, MmapRegion};

    const PAGE: u64 = 4096;
    const SIZE: usize = 0x10_0000;

    /// Creates RAM full of ones, backed by its own file or by none.
    fn ram(file: bool, visibility: i32, own_files: bool) -> (GuestRam, Option<Arc<File>>) {
        let file = file.then(|| {
            let fd = memfd_create("discard", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&fd, SIZE as u64).unwrap();
            Arc::new(File::from(fd))
        });
        let offset = file.clone().map(|file| FileOffset::from_arc(file, 0));
        let flags = visibility | if file.is_none() { libc::MAP_ANONYMOUS } else { 0 };
        let mapping = MmapRegion::build(offset, SIZE, libc::PROT_READ | libc::PROT_WRITE, flags).unwrap();
        let region = GuestRegion::new(mapping, GuestAddress(0x10_0000)).unwrap();
        let ram = GuestRam::from_regions(vec![region], 4096, own_files).unwrap();
        ram.write_slice(&[1; SIZE], GuestAddress(0x10_0000)).unwrap();
        (ram, file)
    }

    fn read(ram: &GuestRam, address: u64) -> u8 {
        ram.read_obj(GuestAddress(address)).unwrap()
    }

    fn allocated(file: &File) -> u64 {
        file.metadata().unwrap().blocks() * 512
    }

    /// Returns the number of resident pages of the mapping.
    fn resident(ram: &GuestRam) -> usize {
        let region = ram.iter().next().unwrap();
        let mut pages = vec![0_u8; SIZE / 4096];
        // SAFETY: the range is the region's own mapping, and the vector has a byte for each of its pages.
        assert_eq!(unsafe { libc::mincore(region.as_ptr().cast(), SIZE, pages.as_mut_ptr()) }, 0);
        pages.iter().filter(|page| **page & 1 != 0).count()
    }

    #[test]
    fn pages_read_zero_cost_nothing_and_are_in_the_dirty_log() {
        let cases = [
            (false, libc::MAP_PRIVATE),
            (false, libc::MAP_SHARED),
            (true, libc::MAP_SHARED),
            (true, libc::MAP_PRIVATE),
        ];
        for (file, visibility) in cases {
            let (ram, file) = ram(file, visibility, true);
            let region = ram.iter().next().unwrap();
            MmapRegion::bitmap(region).reset();
            assert_eq!(ram.discard(0x12_0000..0x18_0000).unwrap(), 0x6_0000);
            assert_eq!(resident(&ram), 256 - 96, "{file:?} {visibility}");
            assert_eq!((read(&ram, 0x11_ffff), read(&ram, 0x12_0000), read(&ram, 0x18_0000)), (1, 0, 1));
            assert_eq!(read(&ram, 0x17_ffff), 0);
            let dirty = |page: usize| region.bitmap().dirty_at(page * 4096);
            assert_eq!((dirty(31), dirty(32), dirty(127), dirty(128)), (false, true, true, false));
            if let Some(file) = file {
                // The pages that were read since are allocated again where they are private.
                assert!(allocated(&file) <= 0xa_0000 + 2 * PAGE, "{}", allocated(&file));
            }
            ram.write_obj(2_u8, GuestAddress(0x12_0000)).unwrap();
            assert_eq!(read(&ram, 0x12_0000), 2);
        }
    }

    #[test]
    fn a_file_of_another_user_is_unchanged() {
        let (ram, file) = ram(true, libc::MAP_PRIVATE, false);
        let before = allocated(file.as_ref().unwrap());
        assert_eq!(ram.discard(0x10_0000..0x20_0000).unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!((read(&ram, 0x10_0000), allocated(&file.unwrap())), (1, before));
    }

    #[test]
    fn there_is_nothing_to_give_back_beyond_ram_and_in_parts_of_pages() {
        let (ram, _) = ram(false, libc::MAP_PRIVATE, true);
        for range in
            [0..0x10_0000, 0x20_0000..u64::MAX, 0x10_0001..0x10_1fff, u64::MAX - 1..u64::MAX, 0x18_0000..0x18_0000]
        {
            assert_eq!(ram.discard(range).unwrap(), 0);
        }
        assert_eq!(resident(&ram), 256);
        assert_eq!(ram.discard(0..u64::MAX).unwrap(), SIZE as u64);
        assert_eq!(resident(&ram), 0);
    }

    proptest! {
        #[test]
        fn whole_pages_are_inside(start in 0_u64..0x30_0000, len in 0_u64..0x30_0000, huge in any::<bool>()) {
            let (ram, _) = ram(false, libc::MAP_PRIVATE, true);
            let (region, range) = (ram.iter().next().unwrap(), start..start + len);
            let page = if huge { 0x1_0000 } else { PAGE };
            if let Some((offset, len)) = whole_pages(region, &range, page) {
                let (offset, len) = (offset as u64, len as u64);
                prop_assert!(offset.is_multiple_of(page) && len.is_multiple_of(page));
                prop_assert!(0x10_0000 + offset >= range.start && 0x10_0000 + offset + len <= range.end);
                prop_assert!(offset + len <= region.len());
            }
        }
    }
}
