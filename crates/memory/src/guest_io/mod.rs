//! Guest I/O: a file's bytes to and from guest RAM without a copy in between, at once or through io_uring.

use crate::ram::{GuestRam, host_address};
use io_uring::types::{CancelBuilder, Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Ranges that one call takes, Linux's `IOV_MAX`.
const LONGEST: usize = 1024;

/// Vectors of at most so many ranges are used again: 256 bytes, for each call that a ring takes at once.
const SHORT: usize = 16;

/// A run of guest memory. It is checked where it is used; what is not RAM, or goes from one region into another, is `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestRange {
    /// Guest physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
}

/// How many bytes these are together.
#[must_use]
pub fn total(ranges: &[GuestRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.len)).sum()
}

/// What is left of `ranges` behind their first `skip` bytes.
pub fn behind(ranges: &[GuestRange], mut skip: u64) -> impl Iterator<Item = GuestRange> {
    ranges.iter().filter_map(move |range| {
        let skipped = u32::try_from(skip).unwrap_or(u32::MAX).min(range.len);
        skip -= u64::from(skipped);
        (skipped < range.len)
            .then(|| GuestRange { address: range.address.saturating_add(skipped.into()), len: range.len - skipped })
    })
}

/// Addresses in this process. Good as long as the RAM that made them.
#[derive(Default)]
struct IoVectors(Vec<libc::iovec>);

// SAFETY: the addresses belong to mappings that are shared by all threads; only the kernel follows them.
unsafe impl Send for IoVectors {}

impl IoVectors {
    fn new(ram: &GuestRam, ranges: impl IntoIterator<Item = GuestRange>) -> io::Result<Self> {
        let mut vectors = Self::default();
        vectors.fill(ram, ranges)?;
        Ok(vectors)
    }

    /// Replaces the addresses, in the same memory where they fit.
    fn fill(&mut self, ram: &GuestRam, ranges: impl IntoIterator<Item = GuestRange>) -> io::Result<()> {
        let vector = |range: GuestRange| {
            let iov_len = usize::try_from(range.len).ok()?;
            let base = usize::try_from(host_address(ram, range.address, range.len.into())?).ok()?;
            Some(libc::iovec { iov_base: base as *mut libc::c_void, iov_len })
        };
        self.0.clear();
        for range in ranges {
            self.0.push(vector(range).ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))?);
        }
        Ok(())
    }

    fn count(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }
}

/// Reads from `offset` of the file into guest memory, until the ranges are full or the file ends: how many bytes.
///
/// # Errors
/// The kernel's; `EFAULT` for what is not RAM.
pub fn read_at(ram: &GuestRam, file: &File, ranges: &[GuestRange], offset: u64) -> io::Result<u64> {
    // SAFETY: the vectors lie in guest RAM, which `ram` keeps mapped during the call; guest memory may change at any time and has no
    // invalid values.
    let done = transfer(ram, ranges, offset, |vectors, offset| unsafe {
        libc::preadv(file.as_raw_fd(), vectors.0.as_ptr(), vectors.count(), offset)
    });
    // A read that failed may have written a part.
    note_written(ram, ranges, *done.as_ref().unwrap_or(&u64::MAX));
    done
}

/// Notes for the dirty log that the first `count` bytes of these ranges were written by a [`RingCall::Read`]. [`read_at`] does so itself.
pub fn note_written(ram: &GuestRam, ranges: &[GuestRange], mut count: u64) {
    for range in ranges {
        let len = count.min(range.len.into());
        count -= len;
        if let Some(region) = ram.find_region(GuestAddress(range.address))
            && let (Ok(start), Ok(len)) =
                (usize::try_from(range.address - region.start_addr().raw_value()), usize::try_from(len))
        {
            region.bitmap().mark_dirty(start, len);
        }
    }
}

/// Writes guest memory to the file, from `offset` on: how many bytes, which is all of them.
///
/// # Errors
/// The kernel's; `EFAULT` for what is not RAM.
pub fn write_at(ram: &GuestRam, file: &File, ranges: &[GuestRange], offset: u64) -> io::Result<u64> {
    // SAFETY: as for reading.
    let written = transfer(ram, ranges, offset, |vectors, offset| unsafe {
        libc::pwritev(file.as_raw_fd(), vectors.0.as_ptr(), vectors.count(), offset)
    })?;
    if written < total(ranges) { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

fn transfer(
    ram: &GuestRam,
    ranges: &[GuestRange],
    offset: u64,
    call: impl Fn(&IoVectors, i64) -> isize,
) -> io::Result<u64> {
    let mut done = 0;
    while done < total(ranges) {
        let vectors = IoVectors::new(ram, behind(ranges, done).take(LONGEST))?;
        let at = offset.checked_add(done).and_then(|at| i64::try_from(at).ok()).ok_or(io::ErrorKind::InvalidInput)?;
        match u64::try_from(call(&vectors, at)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(done)
}

/// What a ring is asked to do with its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingCall<'a> {
    /// Read into guest memory. Like `preadv`, it may do less than was asked for. When it has completed, [`note_written`] has to be told.
    Read {
        /// Where to.
        ranges: &'a [GuestRange],
        /// Where in the file.
        offset: u64,
    },
    /// Write guest memory. May do less than was asked for.
    Write {
        /// Where from.
        ranges: &'a [GuestRange],
        /// Where in the file.
        offset: u64,
    },
    /// `fdatasync`: every write that was done before is on the medium.
    Datasync,
    /// `fallocate` with these flags.
    Fallocate {
        /// `FALLOC_FL_*`.
        mode: u32,
        /// Where in the file.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// The `user_data` of a cancellation. No call has it, because tokens are smaller.
const CANCELLATION: u64 = u64::MAX;

/// How long dropping a ring waits for the kernel.
const END_WITHIN: Duration = Duration::from_millis(500);

/// An io_uring for one file and guest RAM.
///
/// Dropping it cancels what is in flight and waits half a second for the kernel's answers. Memory into which the kernel may still write
/// then is never unmapped.
///
/// ```
/// use kvm_accel_memory::GuestRam;
/// use kvm_accel_memory::guest_io::{GuestRange, GuestRing, RingCall};
/// use std::{fs::File, sync::Arc};
/// use vm_memory::GuestAddress;
///
/// let ram = GuestRam::from_ranges(&[(GuestAddress(0), 4096)])?;
/// // A kernel may not have io_uring, or not let this process use it.
/// let Ok(mut ring) = GuestRing::new(&ram, &Arc::new(File::open("/proc/self/exe")?), 8) else { return Ok(()) };
/// ring.push(7, RingCall::Read { ranges: &[GuestRange { address: 0, len: 512 }], offset: 0 })?;
/// ring.submit()?;
/// while ring.in_flight() > 0 {
///     if let Some((token, result)) = ring.completed() {
///         assert_eq!((token, result?), (7, 512));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GuestRing {
    ring: IoUring,
    /// The vectors of calls that the kernel has not read yet; it copies them at submission (`IORING_FEAT_SUBMIT_STABLE`).
    vectors: Vec<IoVectors>,
    /// Vectors to use again.
    spare: Vec<IoVectors>,
    /// Calls that were given to [`Self::push`] and not returned by [`Self::completed`].
    in_flight: usize,
    /// Those of them that read or write guest memory.
    in_memory: usize,
    /// After [`Self::cancel`] nothing is submitted any more.
    cancelled: bool,
    capacity: usize,
    /// Keep what calls in flight refer to.
    ram: GuestRam,
    _file: Arc<File>,
}

impl std::fmt::Debug for GuestRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestRing").field("in_flight", &self.in_flight).field("capacity", &self.capacity).finish()
    }
}

impl GuestRing {
    /// A ring for at most `entries` calls in flight.
    ///
    /// # Errors
    /// The kernel's: it has no io_uring, it is switched off, or a sandbox forbids it.
    pub fn new(ram: &GuestRam, file: &Arc<File>, entries: u16) -> io::Result<Self> {
        let entries = u32::from(entries.max(1)).next_power_of_two();
        let ring = IoUring::new(entries)?;
        if !ring.params().is_feature_submit_stable() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let capacity = usize::try_from(entries).map_err(io::Error::other)?;
        let (vectors, spare, ram, file) = (Vec::new(), Vec::new(), ram.clone(), Arc::clone(file));
        Ok(Self { ring, vectors, spare, in_flight: 0, in_memory: 0, cancelled: false, capacity, ram, _file: file })
    }

    /// Whether no further call fits until one has completed.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.in_flight >= self.capacity
    }

    /// Calls that [`GuestRing::completed`] has not returned.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Calls in flight that read or write guest memory.
    #[must_use]
    pub const fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// Prepares a call. `token`, less than 2^62, comes back with its result.
    ///
    /// # Errors
    /// `EFAULT` for what is not RAM, `EBUSY` when the ring is full, `EINVAL` for more than 1024 ranges or a larger token.
    pub fn push(&mut self, token: u64, call: RingCall<'_>) -> io::Result<()> {
        if self.is_full() {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        if token >= 1 << 62 {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        const FILE: Fixed = Fixed(0);
        let (entry, in_memory) = match call {
            RingCall::Read { ranges, offset } => {
                let (vectors, count) = self.keep(ranges)?;
                (opcode::Readv::new(FILE, vectors, count).offset(offset).build(), true)
            }
            RingCall::Write { ranges, offset } => {
                let (vectors, count) = self.keep(ranges)?;
                (opcode::Writev::new(FILE, vectors, count).offset(offset).build(), true)
            }
            RingCall::Datasync => (opcode::Fsync::new(FILE).flags(FsyncFlags::DATASYNC).build(), false),
            RingCall::Fallocate { mode, offset, len } => {
                (opcode::Fallocate::new(FILE, len).offset(offset).mode(mode.cast_signed()).build(), false)
            }
        };
        self.enqueue(&entry.user_data(token << 1 | u64::from(in_memory)))?;
        self.in_flight += 1;
        self.in_memory += usize::from(in_memory);
        Ok(())
    }

    fn enqueue(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the vectors of the entry are kept until the kernel has copied them; the guest RAM they point to and the file are kept
        // until `in_memory` is 0, by the clone and by `drop`.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))
    }

    fn keep(&mut self, ranges: &[GuestRange]) -> io::Result<(*const libc::iovec, u32)> {
        if ranges.len() > LONGEST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut vectors = self.spare.pop().unwrap_or_default();
        vectors.fill(&self.ram, ranges.iter().copied())?;
        let count = vectors.count().unsigned_abs();
        // The vector's own heap block: it does not move with `vectors`.
        let pointer = vectors.0.as_ptr();
        self.vectors.push(vectors);
        Ok((pointer, count))
    }

    /// Hands what was pushed to the kernel. What it can do at once is completed afterwards.
    ///
    /// # Errors
    /// The kernel's, when it has no memory for that. What it has not taken stays pushed, and may be submitted again. `ECANCELED` after
    /// [`GuestRing::cancel`].
    pub fn submit(&mut self) -> io::Result<()> {
        if self.cancelled {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        self.submit_all()
    }

    fn submit_all(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        self.spare.extend(self.vectors.drain(..).filter(|vectors| vectors.0.capacity() <= SHORT));
        Ok(())
    }

    /// The next call that has completed: its token and the bytes it transferred. To wait for one, poll this ring for input.
    pub fn completed(&mut self) -> Option<(u64, io::Result<u32>)> {
        loop {
            let entry = self.ring.completion().next()?;
            if entry.user_data() == CANCELLATION {
                continue;
            }
            self.in_flight = self.in_flight.saturating_sub(1);
            if entry.user_data() & 1 != 0 {
                self.in_memory = self.in_memory.saturating_sub(1);
            }
            let result = u32::try_from(entry.result());
            let result = result.map_err(|_| io::Error::from_raw_os_error(entry.result().saturating_neg()));
            return Some((entry.user_data() >> 1, result));
        }
    }

    /// Asks the kernel to cancel what is in flight (Linux 5.19; before, it completes), and waits until nothing in flight reads or writes
    /// guest memory. `each` receives what [`GuestRing::completed`] would return. Calls that do not touch guest memory may stay in flight. The
    /// ring takes no further calls.
    ///
    /// # Errors
    /// `TimedOut` when the kernel has not answered within this time.
    pub fn cancel(&mut self, within: Duration, mut each: impl FnMut(u64, io::Result<u32>)) -> io::Result<()> {
        let deadline = Instant::now() + within;
        if self.in_flight > 0 && !self.cancelled {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCELLATION);
            // Calls that were pushed and not submitted go first, and are cancelled as well.
            if self.enqueue(&cancel).is_err() || self.submit_all().is_err() {
                // The kernel never sees what it has not taken by now: nobody submits any more.
                let unsubmitted = self.ring.submission().len();
                self.in_flight = self.in_flight.saturating_sub(unsubmitted);
                self.in_memory = self.in_memory.saturating_sub(self.vectors.len().min(unsubmitted)).min(self.in_flight);
            }
        }
        self.cancelled = true;
        loop {
            while let Some((token, result)) = self.completed() {
                each(token, result);
            }
            if self.in_memory == 0 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&*self, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for GuestRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and lives as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for GuestRing {
    fn drop(&mut self) {
        if self.in_memory > 0 && self.cancel(END_WITHIN, |_, _| {}).is_err() {
            // The kernel may still write: leaking the memory is better than a write into memory that was reused.
            std::mem::forget((self.ram.clone(), std::mem::take(&mut self.vectors)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vm_memory::Bytes;

    const PAGE: u64 = 4096;

    fn ram() -> GuestRam {
        GuestRam::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x10_0000), 0x4000)]).unwrap()
    }

    fn file(bytes: &[u8]) -> Arc<File> {
        let fd = rustix::fs::memfd_create("guest-io", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
        Arc::new(file)
    }

    fn pattern() -> Vec<u8> {
        (0..=255).cycle().take(3 * 4096).collect()
    }

    /// A ring, or `None` where the kernel has none, which CI does not accept.
    fn ring(ram: &GuestRam, file: &Arc<File>, entries: u16) -> Option<GuestRing> {
        match GuestRing::new(ram, file, entries) {
            Ok(ring) => Some(ring),
            Err(error) if std::env::var_os("CI").is_none() => {
                println!("skipped, because io_uring is unavailable: {error}");
                None
            }
            Err(error) => panic!("io_uring is unavailable: {error}"),
        }
    }

    fn wait(ring: &mut GuestRing) -> (u64, io::Result<u32>) {
        loop {
            if let Some(completion) = ring.completed() {
                return completion;
            }
            rustix::event::poll(&mut [rustix::event::PollFd::new(&*ring, rustix::event::PollFlags::IN)], None).unwrap();
        }
    }

    #[test]
    fn ranges_are_filled_in_turn_and_an_early_end_of_the_file_is_told() {
        let (ram, file) = (ram(), file(&pattern()));
        let ranges = [GuestRange { address: 0x10_0000, len: 100 }, GuestRange { address: 8, len: 5000 }];
        assert_eq!(read_at(&ram, &file, &ranges, 50).unwrap(), 5100);
        let mut bytes = [0; 5000];
        ram.read_slice(&mut bytes, GuestAddress(8)).unwrap();
        assert_eq!(bytes, pattern()[150..5150]);
        assert_eq!(read_at(&ram, &file, &ranges, 3 * PAGE - 20).unwrap(), 20);
    }

    #[test]
    fn more_ranges_than_one_call_takes_are_several() {
        let (ram, file) = (ram(), file(&[]));
        let ranges = vec![GuestRange { address: 0, len: 2 }; 3000];
        ram.write_slice(b"ab", GuestAddress(0)).unwrap();
        assert_eq!(write_at(&ram, &file, &ranges, 0).unwrap(), 6000);
        assert_eq!(file.metadata().unwrap().len(), 6000);
    }

    #[test]
    fn what_is_not_ram_is_a_bad_address() {
        let (ram, file) = (ram(), file(&pattern()));
        for (address, len) in [(0x4000, 1), (0x3fff, 2), (u64::MAX, 1), (0x10_0000, 0x4001)] {
            let ranges = [GuestRange { address, len }];
            assert_eq!(read_at(&ram, &file, &ranges, 0).unwrap_err().raw_os_error(), Some(libc::EFAULT));
            let Some(mut ring) = ring(&ram, &file, 4) else { continue };
            let error = ring.push(0, RingCall::Read { ranges: &ranges, offset: 0 }).unwrap_err();
            assert_eq!((error.raw_os_error(), ring.in_flight()), (Some(libc::EFAULT), 0));
        }
    }

    #[test]
    fn a_ring_does_what_calls_do() {
        let (ram, file) = (ram(), file(&pattern()));
        let Some(mut ring) = ring(&ram, &file, 4) else { return };
        let ranges = [GuestRange { address: 0, len: 512 }, GuestRange { address: 0x10_0000, len: 512 }];
        ring.push(1, RingCall::Read { ranges: &ranges, offset: 512 }).unwrap();
        ring.submit().unwrap();
        let (token, read) = wait(&mut ring);
        assert_eq!((token, read.unwrap()), (1, 1024));
        ring.push(2, RingCall::Write { ranges: &ranges, offset: 3 * PAGE }).unwrap();
        ring.push(3, RingCall::Datasync).unwrap();
        ring.submit().unwrap();
        let mut tokens = [wait(&mut ring), wait(&mut ring)].map(|(token, result)| (token, result.unwrap()));
        tokens.sort_unstable();
        assert_eq!(tokens, [(2, 1024), (3, 0)]);
        let mut bytes = [0; 1024];
        std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, 3 * PAGE).unwrap();
        assert_eq!(bytes, pattern()[512..1536]);
    }

    #[test]
    fn a_full_ring_refuses_calls_and_a_cancelled_one_as_well() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let ram = ram();
        let Some(mut ring) = ring(&ram, &Arc::new(File::from(reader)), 2) else { return };
        let ranges = [GuestRange { address: 0, len: 4 }];
        for token in 0..2 {
            ring.push(token, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
        }
        assert!(ring.is_full());
        let error = ring.push(2, RingCall::Datasync).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        ring.submit().unwrap();
        assert_eq!((ring.in_flight(), ring.in_memory()), (2, 2));
        let mut cancelled = Vec::new();
        let each = |token, result: io::Result<u32>| cancelled.push((token, result.unwrap_err().raw_os_error()));
        ring.cancel(Duration::from_secs(60), each).unwrap();
        cancelled.sort_unstable();
        assert_eq!(cancelled, [(0, Some(libc::ECANCELED)), (1, Some(libc::ECANCELED))]);
        assert_eq!((ring.in_flight(), ring.in_memory()), (0, 0));
        let error = ring.push(2, RingCall::Datasync).and_then(|()| ring.submit()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        // Nobody reads what comes after that.
        rustix::io::write(&writer, b"late").unwrap();
        assert_eq!(ram.read_obj::<[u8; 4]>(GuestAddress(0)).unwrap(), [0; 4]);
    }

    #[test]
    fn dropping_a_ring_cancels_what_is_in_flight() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (ram, reader) = (ram(), Arc::new(File::from(reader)));
        let Some(mut ring) = ring(&ram, &reader, 2) else { return };
        let ranges = [GuestRange { address: 0, len: 4 }];
        ring.push(0, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
        ring.submit().unwrap();
        // And one that the kernel has not heard of.
        ring.push(1, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
        drop(ring);
        rustix::io::write(&writer, b"late").unwrap();
        let mut bytes = [0; 4];
        std::io::Read::read_exact(&mut &*reader, &mut bytes).unwrap();
        assert_eq!((&bytes, ram.read_obj::<[u8; 4]>(GuestAddress(0)).unwrap()), (b"late", [0; 4]));
    }

    #[test]
    fn tokens_that_do_not_fit_are_refused() {
        let (ram, file) = (ram(), file(&[]));
        let Some(mut ring) = ring(&ram, &file, 2) else { return };
        assert_eq!(ring.push(1 << 62, RingCall::Datasync).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        ring.push((1 << 62) - 1, RingCall::Datasync).unwrap();
        ring.submit().unwrap();
        assert_eq!(wait(&mut ring).0, (1 << 62) - 1);
    }

    proptest! {
        #[test]
        fn skipping_keeps_the_bytes_behind(lens in prop::collection::vec(0_u32..10, 0..10), skip in 0_u64..100) {
            let ranges: Vec<_> = lens.iter().map(|&len| GuestRange { address: 0, len }).collect();
            let rest: Vec<_> = behind(&ranges, skip).collect();
            prop_assert_eq!(total(&rest), total(&ranges).saturating_sub(skip));
            prop_assert!(rest.iter().all(|range| range.len > 0 && range.address < 10));
        }
    }
}
