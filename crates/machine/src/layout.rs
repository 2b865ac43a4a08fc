//! The layout of a machine's RAM in the guest's physical address space.
//!
//! ```text
//! 0 ........ low RAM ........ 3 GiB  hole: APICs, accelerator pages  4 GiB ........ high RAM ........
//! ```

use crate::MachineConfigError;
use std::ops::Range;

/// The highest possible end of low RAM. Local APIC, IOAPIC and the accelerator's own pages lie between here and 4 GiB.
pub const HOLE_START: u64 = 0xc000_0000;
/// The start of high RAM: the RAM that does not fit below the hole.
pub const HOLE_END: u64 = 0x1_0000_0000;

/// Granularity of RAM, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// The smallest machine: the PC's first mebibyte.
const MIN_SIZE: u64 = 1 << 20;
/// The most RAM that fits into x86's 52 bits of physical address.
const MAX_SIZE: u64 = (1 << 52) - (HOLE_END - HOLE_START);

/// The address of the extended BIOS data area: the last KiB below 640 KiB.
pub const EBDA: u64 = 0x9_fc00;

/// Extended BIOS data, video memory and ROMs on a PC. RAM backs this range here, but no guest may rely on that.
const LEGACY_AREA: Range<u64> = EBDA..0x10_0000;

/// The parts of `LEGACY_AREA` that firmware reserves: the extended BIOS data area, and the BIOS area with the MP table and
/// the ACPI tables.
const FIRMWARE: [Range<u64>; 2] = [EBDA..0xa_0000, 0xe_0000..0x10_0000];

/// The type of a range of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// RAM that a guest may use.
    Ram,
    /// Memory that holds firmware's tables.
    Reserved,
}

/// RAM of a valid size, split around the hole below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamLayout {
    size: u64,
}

impl RamLayout {
    /// Computes the layout of `size` bytes of RAM.
    ///
    /// # Errors
    /// Fails if `size` is below 1 MiB, above what x86 can address (4 PiB less the hole), or not a multiple of 4 KiB.
    pub fn new(size: u64) -> Result<Self, MachineConfigError> {
        let refuse = |rule: &str, remedy| {
            Err(MachineConfigError::new("memory", format!("memory of {size} bytes {rule}"), remedy))
        };
        if size < MIN_SIZE {
            return refuse("is too small: expected at least 1 MiB", "Use 1M or more.");
        }
        if size > MAX_SIZE {
            return refuse("is too large: expected at most 4 PiB minus 1 GiB, the limit of x86", "Use less memory.");
        }
        if !size.is_multiple_of(PAGE_SIZE) {
            return refuse("is not a multiple of the page size, 4096 bytes", "Round the size to a multiple of 4K.");
        }
        Ok(Self { size })
    }

    /// Returns the size of all RAM in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns low RAM: from address 0 up to the hole at most.
    #[must_use]
    pub const fn low(&self) -> Range<u64> {
        0..if self.size < HOLE_START { self.size } else { HOLE_START }
    }

    /// Returns high RAM: from 4 GiB up, if low RAM does not hold all.
    #[must_use]
    pub const fn high(&self) -> Option<Range<u64>> {
        if self.size > HOLE_START { Some(HOLE_END..HOLE_END + (self.size - HOLE_START)) } else { None }
    }

    /// Returns low and high RAM, in address order: the machine's memory slots.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        std::iter::once(self.low()).chain(self.high())
    }

    /// Returns true if every address of `range` is RAM.
    #[must_use]
    pub fn contains(&self, range: &Range<u64>) -> bool {
        self.ranges().any(|ram| ram.start <= range.start && range.end <= ram.end)
    }

    /// Returns the memory map that the guest gets, in address order: the usable RAM, and what firmware reserves.
    #[must_use]
    pub fn firmware_map(&self) -> Vec<(Range<u64>, MemoryKind)> {
        let usable = self.memory_map().into_iter().map(|range| (range, MemoryKind::Ram));
        let mut map: Vec<_> = usable.chain(FIRMWARE.map(|range| (range, MemoryKind::Reserved))).collect();
        map.sort_by_key(|(range, _)| range.start);
        map
    }

    /// Returns the usable RAM in the guest's memory map, in address order: all RAM except the PC's reserved area below
    /// 1 MiB.
    #[must_use]
    pub fn memory_map(&self) -> Vec<Range<u64>> {
        let low = self.low();
        let below = low.start..LEGACY_AREA.start;
        let above = LEGACY_AREA.end..low.end;
        [below, above].into_iter().chain(self.high()).filter(|range| !range.is_empty()).collect()
    }
}
