//! The dirty rings of a machine's vCPUs.

use super::harvest::{DirtyPage, Entries, harvest};
use crate::kvm::dirty_ring::DirtyRing;
use crate::trace::trace;

/// Rings and how far each has been read.
#[derive(Debug, Default)]
pub struct Rings(Vec<Ring>);

#[derive(Debug)]
struct Ring {
    entries: DirtyRing,
    next: u32,
    /// Pages harvested since the vCPU was made.
    total: u64,
}

/// What one round over all rings found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harvested {
    /// Entries, which the kernel is to take back.
    pub entries: u32,
    /// A ring was full to its last entry: the kernel may have had more to say.
    pub overflow: bool,
}

impl Rings {
    /// Adds the ring of the next vCPU.
    pub fn push(&mut self, entries: DirtyRing) {
        self.0.push(Ring { entries, next: 0, total: 0 });
    }

    /// Harvests every ring.
    pub fn harvest(&mut self, mut dirty: impl FnMut(DirtyPage)) -> Harvested {
        let mut all = Harvested::default();
        for (vcpu, ring) in (0_u32..).zip(&mut self.0) {
            trace!(KvmDirtyRingReapVcpu { id: vcpu });
            let mut fetch = ring.next;
            let count = harvest(&ring.entries, &mut ring.next, |page| {
                // As in QEMU, the event's slot is the index of the entry.
                trace!(KvmDirtyRingPage { vcpu, slot: fetch, offset: page.page });
                fetch = fetch.wrapping_add(1);
                dirty(page);
            });
            ring.total += u64::from(count);
            all.entries += count;
            all.overflow |= count == ring.entries.len();
        }
        all
    }

    /// Pages that each vCPU has dirtied, counted once each time a page was noted.
    pub fn totals(&self) -> Vec<u64> {
        self.0.iter().map(|ring| ring.total).collect()
    }
}
