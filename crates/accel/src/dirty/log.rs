//! The interface of dirty tracking, independent of the back end.

use super::clear::clear_calls;
use super::pages::{DirtyPages, SlotPages};
use super::rings::Rings;
use crate::Result;
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::DirtyCalls;
use kvm_accel_kvm::fd::Slot;
use kvm_accel_kvm::lock;
use kvm_accel_kvm::trace::trace;
use kvm_accel_kvm::upstream::DirtyRing;
use kvm_accel_memory::slots::Memory;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

/// How the kernel reports dirty pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// KVM_GET_DIRTY_LOG reads and clears in one call.
    Bitmap,
    /// KVM_GET_DIRTY_LOG reads, KVM_CLEAR_DIRTY_LOG clears (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
    ManualProtect,
    /// Each vCPU has a ring with this number of entries (`dirty-ring-size`).
    Ring(u32),
}

/// Kicks every vCPU once and waits until it has left `KVM_RUN`, so that pages buffered by the processor reach the
/// rings.
pub trait KickAll: Send + Sync {
    /// Returns when each vCPU has been outside the guest since the call.
    ///
    /// # Errors
    /// A vCPU that does not leave the guest.
    fn kick_and_wait(&self) -> Result<()>;
}

/// Tracks which pages of a machine's memory were written, by the guest or through its [`GuestRam`](crate::GuestRam).
/// Cloning is cheap. All clones share the same state.
#[derive(Clone)]
pub struct DirtyLog(Arc<Log>);

struct Log {
    mode: Mode,
    calls: DirtyCalls,
    memory: Memory,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    logging: bool,
    /// Dirty pages that were found and not taken yet.
    pages: Vec<SlotPages>,
    rings: Rings,
    vcpus: Option<Weak<dyn KickAll>>,
}

impl DirtyLog {
    pub(crate) fn new(mode: Mode, calls: DirtyCalls, memory: Memory) -> Self {
        Self(Arc::new(Log { mode, calls, memory, state: Mutex::default() }))
    }

    /// Adds the ring of the next vCPU.
    pub(crate) fn add_ring(&self, ring: DirtyRing) {
        self.lock().rings.push(ring);
    }

    /// Sets the vCPUs that [`Self::take`] kicks before it reads the rings.
    pub(crate) fn attach(&self, vcpus: Weak<dyn KickAll>) {
        self.lock().vcpus = Some(vcpus);
    }

    /// Returns how the kernel reports dirty pages.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Returns whether dirty tracking is on.
    #[must_use]
    pub fn logging(&self) -> bool {
        self.lock().logging
    }

    /// Starts to track the pages that the guest writes, from an empty set. Has no effect if tracking is on.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when an ioctl fails. Tracking stays off then.
    pub fn start(&self) -> Result<()> {
        let mut state = self.lock();
        if state.logging {
            return Ok(());
        }
        let Log { mode, calls, memory, .. } = &*self.0;
        self.read_written(&mut state);
        // Entries that are still in the rings describe earlier writes. The kernel reclaims them unread.
        if let Mode::Ring(_) = mode {
            self.reap_rings(&mut state)?;
        }
        state.pages.clear();
        memory.set_log_dirty(true)?;
        if *mode == Mode::ManualProtect {
            // Such a log starts with every page dirty and none write-protected.
            for slot in self.logged() {
                let mut all = SlotPages::none(slot);
                all.insert_all();
                if let Err(error) = clear(calls, &all) {
                    // The first error reports the cause. If switching the log off fails too, the only cost is speed.
                    let _ = memory.set_log_dirty(false);
                    return Err(error);
                }
            }
        }
        state.logging = true;
        Ok(())
    }

    /// Stops tracking and discards pages that were not taken.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when an ioctl fails.
    pub fn stop(&self) -> Result<()> {
        let mut state = self.lock();
        state.logging = false;
        state.pages.clear();
        Ok(self.0.memory.set_log_dirty(false)?)
    }

    /// Returns the pages written since [`DirtyLog::start`] or the previous call. The guest may run. Pages that it
    /// writes meanwhile are in this result or in the next.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm). Pages that were found before the error are in the next result.
    pub fn take(&self) -> Result<DirtyPages> {
        if let Mode::Ring(_) = self.0.mode {
            trace!(KvmDirtyRingFlush { finished: 0 });
            // Outside the lock: a vCPU with a full ring takes the lock before it leaves the guest.
            let vcpus = self.lock().vcpus.as_ref().and_then(Weak::upgrade);
            if let Some(vcpus) = vcpus {
                vcpus.kick_and_wait()?;
            }
        }
        let mut state = self.lock();
        match self.0.mode {
            Mode::Ring(_) => {
                self.reap_rings(&mut state)?;
                trace!(KvmDirtyRingFlush { finished: 1 });
            }
            Mode::Bitmap | Mode::ManualProtect => self.read_bitmaps(&mut state)?,
        }
        if state.logging {
            self.read_written(&mut state);
        }
        Ok(DirtyPages::new(&std::mem::take(&mut state.pages)))
    }

    /// Marks all pages dirty, for writes to guest memory that this process did not see.
    pub fn mark_all(&self) {
        let mut state = self.lock();
        if state.logging {
            self.insert_all(&mut state);
        }
    }

    /// Returns the number of pages that each vCPU has dirtied since it was created. Empty without rings.
    ///
    /// # Errors
    /// As [`DirtyLog::take`].
    pub fn vcpu_totals(&self) -> Result<Vec<u64>> {
        let mut state = self.lock();
        self.reap_rings(&mut state)?;
        Ok(state.rings.totals())
    }

    /// Harvests the rings.
    pub(crate) fn reap(&self) -> Result<()> {
        self.reap_rings(&mut self.lock())
    }

    fn reap_rings(&self, state: &mut State) -> Result<()> {
        let start = Instant::now();
        let State { rings, pages, logging, .. } = state;
        let harvested = rings.harvest(|dirty| {
            if *logging && let Some(slot) = self.pages_of(pages, dirty.slot) {
                slot.insert(dirty.page);
            }
        });
        let given_back = rings.give_back(|| self.0.calls.reset_rings());
        // Entries that the kernel did not reclaim, or had no room to record, may concern any page.
        if *logging && (harvested.overflow || given_back.is_err()) {
            self.insert_all(state);
        }
        given_back?;
        trace!(KvmDirtyRingReap {
            count: harvested.entries,
            t: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    fn read_bitmaps(&self, state: &mut State) -> Result<()> {
        let Log { mode, calls, .. } = &*self.0;
        for slot in self.logged() {
            let mut found = SlotPages::none(slot);
            let mut bitmap = found.bits().to_vec();
            match calls.get(slot.id, slot.pages(), &mut bitmap) {
                // The slot has no log: it was deleted meanwhile.
                Err(KvmError::Ioctl { errno: libc::ENOENT, .. }) => continue,
                other => other?,
            }
            found.union(&bitmap);
            // Recorded before the kernel clears the pages: an error loses none.
            if let Some(pages) = self.pages_of(&mut state.pages, slot.id) {
                pages.union(found.bits());
            }
            if *mode == Mode::ManualProtect {
                clear(calls, &found)?;
            }
        }
        Ok(())
    }

    /// Adds the pages that this process has written. The process records them whether tracking is on or off.
    fn read_written(&self, state: &mut State) {
        let mut written = Vec::new();
        self.0.memory.slots().take_written(|slot, page| written.push((slot.id, page)));
        for (slot, page) in written {
            if let Some(pages) = self.pages_of(&mut state.pages, slot) {
                pages.insert(page);
            }
        }
    }

    fn insert_all(&self, state: &mut State) {
        for slot in self.logged() {
            if let Some(pages) = self.pages_of(&mut state.pages, slot.id) {
                pages.insert_all();
            }
        }
    }

    /// Returns the slots whose pages are tracked.
    fn logged(&self) -> Vec<Slot> {
        self.0.memory.slots().iter().filter(|slot| slot.log_dirty).copied().collect()
    }

    /// Returns the set of dirty pages of slot `id`, if the slot exists.
    fn pages_of<'a>(&self, pages: &'a mut Vec<SlotPages>, id: u32) -> Option<&'a mut SlotPages> {
        let index = match pages.iter().rposition(|pages| pages.slot.id == id) {
            Some(index) => index,
            None => {
                pages.push(SlotPages::none(*self.0.memory.slots().get(id)?));
                pages.len() - 1
            }
        };
        pages.get_mut(index)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl std::fmt::Debug for DirtyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirtyLog").field("mode", &self.0.mode).finish_non_exhaustive()
    }
}

/// Clears the dirty pages of a slot in the kernel's log.
fn clear(calls: &DirtyCalls, pages: &SlotPages) -> Result<()> {
    let slot = pages.slot;
    for call in clear_calls(pages.bits(), slot.pages()) {
        trace!(KvmClearDirtyLog { slot: slot.id, start: call.first_page, size: call.pages });
        calls.clear(slot.id, call.first_page, call.pages, pages.bits().get(call.words).unwrap_or_default())?;
    }
    Ok(())
}
