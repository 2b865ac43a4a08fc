//! The interface of dirty tracking, whichever back end the machine has.

use super::clear::clear_calls;
use super::pages::{DirtyPages, SlotPages};
use super::rings::Rings;
use crate::Result;
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::DirtyCalls;
use kvm_accel_kvm::fd::Slot;
use kvm_accel_kvm::trace::trace;
use kvm_accel_kvm::upstream::DirtyRing;
use kvm_accel_memory::slots::Memory;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// How the kernel reports dirty pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// KVM_GET_DIRTY_LOG reads and forgets at once.
    Bitmap,
    /// KVM_GET_DIRTY_LOG reads, KVM_CLEAR_DIRTY_LOG forgets (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
    ManualProtect,
    /// Each vCPU has a ring of that many entries (`dirty-ring-size`).
    Ring(u32),
}

/// Kicks every vCPU once and waits until it has left KVM_RUN, so that what the processor keeps for itself reaches the rings.
pub trait KickAll: Send + Sync {
    /// Returns when each vCPU has been outside the guest since the call.
    ///
    /// # Errors
    /// A vCPU does not leave the guest.
    fn kick_and_wait(&self) -> Result<()>;
}

/// Which pages of a machine's memory were written, by the guest or through its [`GuestRam`](crate::GuestRam). Cloning is cheap; all
/// clones are the same.
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
    /// What was found and nobody has taken.
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

    /// How the kernel reports dirty pages.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Whether pages are being noted.
    #[must_use]
    pub fn logging(&self) -> bool {
        self.lock().logging
    }

    /// Begins to note the pages that the guest writes, with none; does nothing when it has begun.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses; then nothing is noted.
    pub fn start(&self) -> Result<()> {
        let mut state = self.lock();
        if state.logging {
            return Ok(());
        }
        let Log { mode, calls, memory, .. } = &*self.0;
        self.read_written(&mut state);
        // What the rings still contain was written before: the kernel takes it back unread.
        if let Mode::Ring(_) = mode {
            self.reap_rings(&mut state)?;
        }
        state.pages.clear();
        memory.set_log_dirty(true)?;
        if *mode == Mode::ManualProtect {
            // Such a log begins with every page dirty and none protected.
            for slot in self.logged() {
                let mut all = SlotPages::none(slot);
                all.insert_all();
                if let Err(error) = clear(calls, &all) {
                    // The first error says why; a log that cannot be switched off either costs speed alone.
                    let _ = memory.set_log_dirty(false);
                    return Err(error);
                }
            }
        }
        state.logging = true;
        Ok(())
    }

    /// Ends it and forgets what nobody has taken.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the kernel refuses.
    pub fn stop(&self) -> Result<()> {
        let mut state = self.lock();
        state.logging = false;
        state.pages.clear();
        Ok(self.0.memory.set_log_dirty(false)?)
    }

    /// The pages written since [`DirtyLog::start`], or since they were taken before. The guest may run; what it writes meanwhile is in this
    /// result or in the next.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm): what had been found until then is in the next result.
    pub fn take(&self) -> Result<DirtyPages> {
        if let Mode::Ring(_) = self.0.mode {
            trace!(KvmDirtyRingFlush { finished: 0 });
            // Outside the lock: a vCPU with a full ring needs it on its way out.
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

    /// Notes all pages: for what was written to guest memory behind this process's back.
    pub fn mark_all(&self) {
        let mut state = self.lock();
        if state.logging {
            self.insert_all(&mut state);
        }
    }

    /// Pages that each vCPU has dirtied since it was made; empty without rings.
    ///
    /// # Errors
    /// As [`DirtyLog::take`].
    pub fn vcpu_totals(&self) -> Result<Vec<u64>> {
        let mut state = self.lock();
        self.reap_rings(&mut state)?;
        Ok(state.rings.totals())
    }

    /// Empties the rings.
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
        // What the kernel did not take back, or could not write down, may be any page.
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
                // The slot has no log: it went away meanwhile.
                Err(KvmError::Ioctl { errno: libc::ENOENT, .. }) => continue,
                other => other?,
            }
            found.union(&bitmap);
            // Noted before the kernel forgets: an error loses nothing.
            if let Some(pages) = self.pages_of(&mut state.pages, slot.id) {
                pages.union(found.bits());
            }
            if *mode == Mode::ManualProtect {
                clear(calls, &found)?;
            }
        }
        Ok(())
    }

    /// What this process has written: it notes that whether somebody asks or not.
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

    /// The slots whose pages are noted.
    fn logged(&self) -> Vec<Slot> {
        self.0.memory.slots().iter().filter(|slot| slot.log_dirty).copied().collect()
    }

    /// Where a slot's pages are noted, if there is such a slot.
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
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for DirtyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirtyLog").field("mode", &self.0.mode).finish_non_exhaustive()
    }
}

/// Clears what is set.
fn clear(calls: &DirtyCalls, pages: &SlotPages) -> Result<()> {
    let slot = pages.slot;
    for call in clear_calls(pages.bits(), slot.pages()) {
        trace!(KvmClearDirtyLog { slot: slot.id, start: call.first_page, size: call.pages });
        calls.clear(slot.id, call.first_page, call.pages, pages.bits().get(call.words).unwrap_or_default())?;
    }
    Ok(())
}
