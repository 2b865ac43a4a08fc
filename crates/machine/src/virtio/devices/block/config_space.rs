//! The configuration space: what the driver reads of the disk before it asks for anything.

use super::image::SECTOR;
use super::request::MOST_SECTORS;

/// Bytes of `struct virtio_blk_config`, up to the fields for write-zeroes.
pub const SIZE: usize = 60;

/// Where the driver switches the write cache.
pub const WRITEBACK: u64 = 32;

/// Ranges of one request: a queue of 128, less its header and its status.
pub const fn seg_max(queue_size: u16) -> u32 {
    queue_size.saturating_sub(2) as u32
}

/// What a disk tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    /// Its size.
    pub sectors: u64,
    /// Entries of its queue.
    pub queue_size: u16,
    /// The unit in which discarding frees room, in sectors.
    pub discard_sectors: u32,
    /// Answers to writes do not wait for the medium.
    pub writeback: bool,
}

impl ConfigSpace {
    /// The bytes, as QEMU's defaults have them.
    pub fn bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &self.sectors.to_le_bytes());
        put(12, &seg_max(self.queue_size).to_le_bytes());
        // The geometry that old partition tables want: 16 heads, 63 sectors, at most 16383 cylinders.
        let cylinders = u16::try_from((self.sectors / (16 * 63)).clamp(2, 16383)).unwrap_or(16383);
        put(16, &cylinders.to_le_bytes());
        put(18, &[16, 63]);
        put(20, &u32::try_from(SECTOR).unwrap_or(512).to_le_bytes());
        // Topology: physical blocks are logical ones, no alignment; the smallest good request is a sector.
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
