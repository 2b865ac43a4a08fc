//! One DMA transfer: copies an item's bytes to guest memory, and zeroes beyond the item's end.

use kvm_accel::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// Bytes of an item that are copied at once.
const SLICE: usize = 1 << 20;
/// Zeroes that are written at once.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A transfer and its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The address of the transfer's description in guest memory, where the guest also reads the result.
    address: u64,
    selector: u16,
    /// Offset in the item; may be beyond its end.
    offset: u64,
    target: u64,
    /// Bytes that are left.
    len: u64,
}

/// The result of copying a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is left to copy.
    More,
    /// Everything is copied.
    Complete,
    /// The target is not memory.
    Failed,
}

impl Transfer {
    pub const fn new(address: u64, selector: u16, offset: u64, target: u64, len: u64) -> Self {
        Self { address, selector, offset, target, len }
    }

    pub const fn address(&self) -> u64 {
        self.address
    }

    pub const fn selector(&self) -> u16 {
        self.selector
    }

    /// Copies the next slice of `item`, the bytes of the selected item.
    pub fn copy_slice(&mut self, item: &[u8], ram: &GuestRam) -> Progress {
        if self.target.checked_add(self.len).is_none() {
            return Progress::Failed;
        }
        let most = |limit: usize| usize::try_from(self.len).map_or(limit, |len| len.min(limit));
        let rest = usize::try_from(self.offset).ok().and_then(|offset| item.get(offset..)).unwrap_or_default();
        let bytes = if rest.is_empty() { &ZEROES[..most(ZEROES.len())] } else { &rest[..most(SLICE.min(rest.len()))] };
        // An empty transfer copies nothing, so its target may be any address.
        if !bytes.is_empty() && ram.write_slice(bytes, GuestAddress(self.target)).is_err() {
            return Progress::Failed;
        }
        let copied = bytes.len() as u64;
        self.offset = self.offset.saturating_add(copied);
        self.target += copied;
        self.len -= copied;
        if self.len == 0 { Progress::Complete } else { Progress::More }
    }
}
