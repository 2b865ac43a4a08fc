//! Guest RAM: mappings of this process. They are guarded, so that the loss of a page is a fault of the machine and does
//! not end the process.

mod discard;
mod sigbus;

pub use sigbus::Interrupt;

use crate::cancel::{Cancel, Cancelled};
use kvm_accel_kvm::fd::PAGE;
use kvm_accel_kvm::run::Kick;
use sigbus::{Guard, LossCause, Watch};
use std::fmt;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::FromRangesError;
use vm_memory::{
    Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
};

/// Guest memory that records which of its pages this process has written.
pub type GuestMappings = GuestMemoryMmap<AtomicBitmap>;

/// One region of [`GuestMappings`].
pub type GuestRegion = GuestRegionMmap<AtomicBitmap>;

/// Guest memory as vm-memory regions. Cloning is cheap: the mappings are shared and live as long as any clone.
#[derive(Clone, Debug)]
pub struct GuestRam(Arc<Ram>);

#[derive(Debug)]
struct Ram {
    /// Declared first, and so dropped first: the guards replace no page after the mappings are gone.
    _guards: Vec<Guard>,
    memory: GuestMappings,
    watch: Arc<Watch>,
    /// Page size in bytes.
    page: usize,
    own_files: bool,
}

/// Number of bytes to populate between two checks of the cancellation flag. It takes 10 ms on hosts that need 5 ms per
/// MiB, as hosts that are virtual machines do.
const POPULATE_SLICE: usize = 2 << 20;

/// Why guest memory was not populated.
#[derive(Debug, thiserror::Error)]
pub enum PopulateError {
    /// The kernel failed to populate the memory, usually because it has too little memory.
    #[error(transparent)]
    Host(#[from] std::io::Error),
    /// The machine ended meanwhile.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Guest memory that the host has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The guest physical address of the first page known to be lost.
    pub address: u64,
    /// The cause.
    pub reason: LossReason,
}

/// Why guest memory is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// The file behind the memory was truncated.
    Truncated {
        /// Bytes that are left in the file.
        len: u64,
    },
    /// The host has no page to supply: no huge page is free, the file system is full, or an I/O error occurred.
    Unavailable,
    /// The host's memory failed (a hardware error).
    Hardware,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest memory at {:#x} is lost: ", self.address)?;
        match self.reason {
            LossReason::Truncated { len } => write!(f, "its file was truncated to {len} bytes"),
            LossReason::Unavailable => write!(f, "the host cannot provide the page (SIGBUS)"),
            LossReason::Hardware => write!(f, "the host's memory failed (SIGBUS, machine check)"),
        }
    }
}

impl Deref for GuestRam {
    type Target = GuestMappings;

    fn deref(&self) -> &GuestMappings {
        &self.0.memory
    }
}

impl GuestRam {
    /// Creates anonymous memory of these sizes at these addresses. The ranges are in ascending order and do not
    /// overlap.
    ///
    /// # Errors
    /// Mapping the memory fails.
    pub fn from_ranges(ranges: &[(GuestAddress, usize)]) -> Result<Self, FromRangesError> {
        let regions = ranges
            .iter()
            .map(|&(start, size)| {
                GuestRegion::new(MmapRegion::new(size)?, start).ok_or(FromRangesError::InvalidGuestRegion)
            })
            .collect::<Result<_, _>>()?;
        Self::from_regions(regions, page_size(), false)
    }

    /// Wraps memory of any kind, in pages of `page` bytes, a power of two. `own_files`: this RAM is the only user of
    /// its files, which were empty, so [`discard`](Self::discard) may punch holes in them.
    ///
    /// # Errors
    /// The regions are unordered or overlap.
    pub fn from_regions(regions: Vec<GuestRegion>, page: usize, own_files: bool) -> Result<Self, FromRangesError> {
        let memory = GuestMappings::from_regions(regions)?;
        let watch = Arc::<Watch>::default();
        let guards = memory
            .iter()
            .map(|region| {
                let start = region.as_ptr() as usize;
                Guard::new(start..start + region.size(), page, Arc::clone(&watch))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| vm_memory::mmap::MmapRegionError::Mmap(error.into()))?;
        Ok(Self(Arc::new(Ram { _guards: guards, memory, watch, page, own_files })))
    }

    /// Returns the page size in bytes, which is the huge page size for huge pages.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.0.page
    }

    fn has_own_files(&self) -> bool {
        self.0.own_files
    }

    /// Returns the first known loss of memory, if a lost page was touched. Costs one load.
    #[must_use]
    pub fn lost(&self) -> Option<Loss> {
        let (host, cause) = self.0.watch.lost()?;
        let region = self.iter().find(|region| host.wrapping_sub(region.as_ptr() as u64) < region.len())?;
        let address = region.start_addr().raw_value() + (host - region.as_ptr() as u64);
        let reason = match cause {
            LossCause::Hardware => LossReason::Hardware,
            LossCause::Gone => truncated(region).map_or(LossReason::Unavailable, |len| LossReason::Truncated { len }),
        };
        Some(Loss { address, reason })
    }

    /// Returns [`Self::lost`], or a loss that a check of the files finds: a truncated file is a loss before any access
    /// touches it.
    #[must_use]
    pub fn find_loss(&self) -> Option<Loss> {
        self.lost().or_else(|| {
            self.iter().find_map(|region| {
                let len = truncated(region)?;
                let left = len.saturating_sub(region.file_offset()?.start()).next_multiple_of(page_size() as u64);
                Some(Loss { address: region.start_addr().raw_value() + left, reason: LossReason::Truncated { len } })
            })
        })
    }

    /// Touches the page at a guest physical address, after KVM could not access RAM there and exited. If the page is
    /// lost, [`Self::lost`] reports the loss from now on, and the vCPUs are kicked.
    pub fn reach(&self, address: u64) {
        let Some(host) = host_address(self, address, 1) else { return };
        let Ok(host) = usize::try_from(host) else { return };
        let page = host & !(page_size() - 1);
        // SAFETY: the page is a mapping of our own; populating it for reading changes no contents.
        if unsafe { libc::madvise(page as *mut _, page_size(), libc::MADV_POPULATE_READ) } == 0 {
            return;
        }
        match std::io::Error::last_os_error().raw_os_error() {
            // Before Linux 5.14. SAFETY: the byte is mapped as long as `self`; guest memory has no invalid values, and a volatile
            // read races with the guest as the hardware does.
            Some(libc::EINVAL) => drop(unsafe { (page as *const u8).read_volatile() }),
            Some(libc::EHWPOISON) => self.0.watch.record(page, LossCause::Hardware),
            _ => self.0.watch.record(page, LossCause::Gone),
        }
    }

    /// Removes the page at a guest physical address from the page tables that the kernel keeps for the guest. The next
    /// access maps it again. Has no effect where there is no RAM or where the host forbids it (huge pages, files on a
    /// file system mounted `noexec`).
    pub fn flush(&self, address: u64) {
        let Some(host) = host_address(self, address & !(page_size() as u64 - 1), PAGE) else { return };
        // Adds a right and removes it again. Unlike removing a right first, this keeps the page accessible for every
        // other thread.
        for rights in [libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: the page is a mapping of our own that all of this process may read and write, before, meanwhile
            // and after. No code here jumps to guest memory.
            let _ = unsafe { libc::mprotect(host as *mut _, page_size(), rights) };
        }
    }

    /// Makes the host allocate every page now (MADV_POPULATE_WRITE, Linux 5.14). Checks `cancel` before every 2 MiB, or
    /// before every page if pages are larger: clearing a page of 1 GiB is not interruptible.
    ///
    /// # Errors
    /// [`PopulateError`]. Pages that are already populated stay so until the RAM is unmapped.
    pub fn populate(&self, cancel: &Cancel) -> Result<(), PopulateError> {
        let slice = POPULATE_SLICE.max(self.page_size());
        for region in self.iter() {
            for offset in (0..region.size()).step_by(slice) {
                cancel.check()?;
                populate(region, offset, slice.min(region.size() - offset))?;
            }
        }
        Ok(())
    }

    /// Leaves this RAM out of core dumps of this process.
    ///
    /// # Errors
    /// The error of `madvise`.
    pub fn exclude_from_dumps(&self) -> std::io::Result<()> {
        for region in self.iter() {
            // SAFETY: the range is a mapping of our own, which lives as long as `region`; the call changes no contents and no rights.
            if unsafe { libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_DONTDUMP) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Registers the calling vCPU thread: a loss kicks its vCPU while the guard exists.
    #[must_use]
    pub fn interrupt_on_loss(&self, kick: &Kick) -> Interrupt {
        self.0.watch.interrupt(kick)
    }
}

/// Populates `len` bytes from `offset` on. Both lie within the region.
fn populate(region: &GuestRegion, offset: usize, len: usize) -> std::io::Result<()> {
    loop {
        // SAFETY: the caller's range is a part of a mapping of our own, which lives as long as `region`; populating changes no
        // contents.
        if unsafe { libc::madvise(region.as_ptr().add(offset).cast(), len, libc::MADV_POPULATE_WRITE) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Returns the length of a region's file if it is too short for the region.
fn truncated(region: &GuestRegion) -> Option<u64> {
    let file = region.file_offset()?;
    let len = file.file().metadata().ok()?.size();
    (len < file.start() + region.len()).then_some(len)
}

fn page_size() -> usize {
    usize::try_from(PAGE).unwrap_or(4096)
}

/// Returns the address of `size` bytes from `address` on in this process, if they are contiguous.
pub(crate) fn host_address(ram: &GuestRam, address: u64, size: u64) -> Option<u64> {
    let region = ram.find_region(GuestAddress(address))?;
    let offset = address - region.start_addr().raw_value();
    (size <= region.len() - offset).then(|| region.as_ptr() as u64 + offset)
}

/// Returns whether `host` is an address of this RAM in this process.
pub(crate) fn holds(ram: &GuestRam, host: u64) -> bool {
    ram.iter().any(|region| (host.wrapping_sub(region.as_ptr() as u64)) < region.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Returns how many pages the host has allocated.
    fn resident(ram: &GuestRam) -> usize {
        let count = |region: &GuestRegion| {
            let mut pages = vec![0; region.size() / page_size()];
            // SAFETY: the range is a mapping of our own, and the vector has a byte for each of its pages.
            let result = unsafe { libc::mincore(region.as_ptr().cast(), region.size(), pages.as_mut_ptr()) };
            assert_eq!(result, 0);
            pages.iter().filter(|page| **page & 1 != 0).count()
        };
        ram.iter().map(count).sum()
    }

    #[test]
    fn test_populating_provides_every_page_and_nothing_once_it_is_cancelled() {
        // Two regions, neither a multiple of a slice.
        let sizes = [POPULATE_SLICE + page_size(), 3 * POPULATE_SLICE - page_size()];
        let ranges = [(GuestAddress(0), sizes[0]), (GuestAddress(1 << 32), sizes[1])];
        let (ram, cancel) = (GuestRam::from_ranges(&ranges).unwrap(), Cancel::default());
        cancel.cancel();
        assert!(matches!(ram.populate(&cancel), Err(PopulateError::Cancelled(Cancelled))));
        assert_eq!(resident(&ram), 0);
        ram.populate(&Cancel::default()).unwrap();
        assert_eq!(resident(&ram), (sizes[0] + sizes[1]) / page_size());
    }

    #[test]
    fn test_populating_ends_when_it_is_cancelled_meanwhile() {
        // A host needs at least a quarter of a second for this size. The other thread cancels at the first page.
        let size = 4 << 30;
        let (ram, cancel) = (GuestRam::from_ranges(&[(GuestAddress(0), size)]).unwrap(), Cancel::default());
        let watcher = std::thread::spawn({
            let (ram, cancel) = (ram.clone(), cancel.clone());
            move || {
                while resident(&ram) == 0 {}
                cancel.cancel();
            }
        });
        let populated = ram.populate(&cancel);
        watcher.join().unwrap();
        assert!(matches!(populated, Err(PopulateError::Cancelled(Cancelled))));
        assert!(resident(&ram) < size / page_size());
    }
}
