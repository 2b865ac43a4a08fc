//! Reading and writing through io_uring.

use super::vectors::IoVectors;
use super::{GuestRange, LONGEST};
use crate::ram::GuestRam;
use io_uring::types::{CancelBuilder, Fixed, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of ranges in a vector that is kept for reuse: 256 bytes for each call that a ring can have in flight.
const SHORT: usize = 16;

/// A call for a ring to submit on its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingCall<'a> {
    /// Read into guest memory. Like `preadv`, it may transfer fewer bytes than requested. Call
    /// [`note_written`](super::note_written) when it has completed.
    Read {
        /// The destination.
        ranges: &'a [GuestRange],
        /// Offset in the file.
        offset: u64,
    },
    /// Write guest memory to the file. May transfer fewer bytes than requested.
    Write {
        /// The source.
        ranges: &'a [GuestRange],
        /// Offset in the file.
        offset: u64,
    },
    /// `fdatasync`: makes every write that has completed before durable.
    Datasync,
    /// `fallocate` with these flags.
    Fallocate {
        /// `FALLOC_FL_*`.
        mode: u32,
        /// Offset in the file.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

/// The `user_data` of a cancellation. It differs from that of every call, because tokens are smaller.
const CANCELLATION: u64 = u64::MAX;

/// How long dropping a ring waits for the kernel.
const END_WITHIN: Duration = Duration::from_millis(500);

/// An io_uring for one file and guest RAM.
///
/// Dropping it cancels the calls in flight and waits up to half a second for their completions. Memory that the kernel
/// may still write after that time is leaked, not unmapped.
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
    /// The vectors of calls that the kernel has not read yet. The kernel copies them at submission
    /// (`IORING_FEAT_SUBMIT_STABLE`).
    vectors: Vec<IoVectors>,
    /// Vectors for reuse.
    spare: Vec<IoVectors>,
    /// Number of calls that were passed to [`Self::push`] and not yet returned by [`Self::completed`].
    in_flight: usize,
    /// Number of calls in flight that read or write guest memory.
    in_memory: usize,
    /// True after [`Self::cancel`]: the ring submits no further calls.
    cancelled: bool,
    capacity: usize,
    /// Keeps alive what calls in flight refer to.
    ram: GuestRam,
    _file: Arc<File>,
}

impl std::fmt::Debug for GuestRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestRing").field("in_flight", &self.in_flight).field("capacity", &self.capacity).finish()
    }
}

impl GuestRing {
    /// Creates a ring for at most `entries` calls in flight.
    ///
    /// # Errors
    /// The errors of `io_uring_setup`: the kernel lacks io_uring, io_uring is disabled, or a sandbox blocks it.
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

    /// Returns whether the ring is full, so that no further call fits until one has completed.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.in_flight >= self.capacity
    }

    /// Returns the number of calls that [`GuestRing::completed`] has not returned.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the number of calls in flight that read or write guest memory.
    #[must_use]
    pub const fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// Prepares a call. [`GuestRing::completed`] returns `token`, less than 2^62, with the call's result.
    ///
    /// # Errors
    /// `EFAULT` for a range that is not RAM, `EBUSY` when the ring is full, `EINVAL` for more than 1024 ranges or a
    /// larger token.
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
        // Points to the vector's heap block, which does not move with `vectors`.
        let pointer = vectors.0.as_ptr();
        self.vectors.push(vectors);
        Ok((pointer, count))
    }

    /// Submits the prepared calls to the kernel. Calls that the kernel can finish at once have completed afterwards.
    ///
    /// # Errors
    /// The errors of `io_uring_enter`, when the kernel lacks memory. Calls that the kernel has not consumed stay
    /// prepared and may be submitted again. `ECANCELED` after [`GuestRing::cancel`].
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

    /// Returns the next call that has completed: its token and the number of bytes that it transferred. To wait for
    /// one, poll this ring for input.
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

    /// Cancels the calls in flight (from Linux 5.19; older kernels complete them) and waits until no call reads or
    /// writes guest memory. Passes to `each` what [`GuestRing::completed`] would return. Calls that do not touch guest
    /// memory may stay in flight. The ring accepts no further calls.
    ///
    /// # Errors
    /// `TimedOut` when calls still access guest memory after `within`.
    #[expect(clippy::disallowed_methods, reason = "waits once for one descriptor, not in a loop of events")]
    pub fn cancel(&mut self, within: Duration, mut each: impl FnMut(u64, io::Result<u32>)) -> io::Result<()> {
        let deadline = Instant::now() + within;
        if self.in_flight > 0 && !self.cancelled {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCELLATION);
            // Submits prepared calls first. The cancellation then covers them as well.
            if self.enqueue(&cancel).is_err() || self.submit_all().is_err() {
                // The kernel never reads entries that it has not consumed by now: `submit` fails from now on.
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
            // The kernel may still write. Leaking the memory is better than a write into memory that was reused.
            std::mem::forget((self.ram.clone(), std::mem::take(&mut self.vectors)));
        }
        if self.in_flight == 0 {
            // The kernel releases a ring some time after its descriptor is closed, and the ring's reference to the file keeps the file's
            // locks. Without this call, the next user of the file finds it locked. The call fails only if nothing is registered.
            let _ = self.ring.submitter().unregister_files();
        }
    }
}
