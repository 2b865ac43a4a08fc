//! One copy of an item's bytes to guest memory, and of zeroes behind the item's end.

use kvm_accel::GuestRam;
use vm_memory::{Bytes, GuestAddress};

/// Bytes of an item that are copied at once.
const SLICE: usize = 1 << 20;
/// Zeroes that are written at once.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// A copy, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where the guest has described it, and reads how it went.
    address: u64,
    selector: u16,
    /// In the item; may be beyond its end.
    offset: u64,
    target: u64,
    /// Bytes that are left.
    len: u64,
}

/// What came of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to copy.
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

    /// Copies the next slice of `item`, the bytes behind the selector.
    pub fn copy_slice(&mut self, item: &[u8], ram: &GuestRam) -> Progress {
        if self.target.checked_add(self.len).is_none() {
            return Progress::Failed;
        }
        let most = |limit: usize| usize::try_from(self.len).map_or(limit, |len| len.min(limit));
        let rest = usize::try_from(self.offset).ok().and_then(|offset| item.get(offset..)).unwrap_or_default();
        let bytes = if rest.is_empty() { &ZEROES[..most(ZEROES.len())] } else { &rest[..most(SLICE.min(rest.len()))] };
        // An empty transfer copies nothing, wherever that is.
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
