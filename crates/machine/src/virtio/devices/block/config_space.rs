//! The configuration space of a disk, `struct virtio_blk_config`.

use super::image::SECTOR;
use super::request::MOST_SECTORS;

/// Bytes of `struct virtio_blk_config`, up to and including the fields for write-zeroes.
pub const SIZE: usize = 60;

/// Offset of the field with which the driver switches the write cache.
pub const WRITEBACK: u64 = 32;

/// Returns the most data segments of a request: the queue's descriptors, less those for the header and the status.
pub const fn seg_max(queue_size: u16) -> u32 {
    queue_size.saturating_sub(2) as u32
}

/// The values in a disk's configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    /// Size of the disk in sectors.
    pub sectors: u64,
    /// Number of descriptors of the queue.
    pub queue_size: u16,
    /// Discard alignment: the unit in which discarding frees space on the host, in sectors.
    pub discard_sectors: u32,
    /// The write cache is on: a write completes before its data is on the medium.
    pub writeback: bool,
}

impl ConfigSpace {
    /// Returns the bytes of the configuration space, with QEMU's default values.
    pub fn bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.sectors.to_le_bytes());
        put(12, &seg_max(self.queue_size).to_le_bytes());
        // The geometry for old partition tables: 16 heads, 63 sectors, at most 16383 cylinders.
        let cylinders = u16::try_from((self.sectors / (16 * 63)).clamp(2, 16383)).unwrap_or(16383);
        put(16, &cylinders.to_le_bytes());
        put(18, &[16, 63]);
        put(20, &u32::try_from(SECTOR).unwrap_or(512).to_le_bytes());
        // Topology: physical blocks equal logical blocks, no alignment offset, and a minimum I/O size of one sector.
        put(26, &1_u16.to_le_bytes());
        put(32, &[u8::from(self.writeback)]);
        put(34, &1_u16.to_le_bytes());
        put(36, &MOST_SECTORS.to_le_bytes());
        put(40, &1_u32.to_le_bytes());
        put(44, &self.discard_sectors.to_le_bytes());
        put(48, &MOST_SECTORS.to_le_bytes());
        put(52, &1_u32.to_le_bytes());
        put(56, &[1]);
        bytes
    }
}
