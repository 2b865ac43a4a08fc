//! The memory slots in the kernel, changed in transactions.

use super::plan::{Full, plan, plan_log_dirty};
use super::region::{Extent, MachineMemory, Region};
use super::table::{Limits, SlotTable};
use crate::error::{RegionError, Result};
use crate::ram::{GuestRam, holds, host_address};
use kvm_accel_kvm::fd::PAGE;
use kvm_accel_kvm::fd::SlotCalls;
use kvm_accel_kvm::fd::{Slot, SlotCall};
use kvm_accel_kvm::lock;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

/// A machine's memory slots and the RAM behind them, which stays mapped as long as a slot refers to it. Cloning is
/// cheap. All clones share the same slots.
///
/// ```
/// use kvm_accel_kvm::fd::System;
/// use kvm_accel_memory::GuestRam;
/// use kvm_accel_memory::slots::{Limits, Memory, Region};
/// use vm_memory::GuestAddress;
///
/// # if !std::path::Path::new("/dev/kvm").exists() { return Ok(()) }
/// let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
/// let vm = System::open("/dev/kvm".as_ref())?.create_vm()?;
/// let memory = Memory::new(vm.slot_calls(), Limits::new(32, 1));
/// memory.add_all(ram.clone().into())?;
/// // The last 64 KiB become read-only.
/// let mut changes = memory.change();
/// changes.delete(0..0x10_0000);
/// changes.add(Region::new(&ram, 0..0xf_0000))?;
/// changes.add(Region::new(&ram, 0xf_0000..0x10_0000).read_only(true))?;
/// changes.commit()?;
/// assert_eq!(memory.slots().iter().map(|slot| slot.read_only).collect::<Vec<_>>(), [false, true]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    calls: SlotCalls,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    table: SlotTable,
    /// The RAM to which slots refer.
    backing: Vec<GuestRam>,
}

impl Memory {
    /// Creates a handle without slots. The owner of each vCPU of the VM keeps a clone while the vCPU exists, because
    /// its guest accesses the RAM.
    #[must_use]
    pub fn new(calls: SlotCalls, limits: Limits) -> Self {
        let state = State { table: SlotTable::new(limits), backing: Vec::new() };
        Self { calls, state: Arc::new(Mutex::new(state)) }
    }

    /// Runs the first transaction: adds all of a machine's RAM, and its other regions.
    pub fn add_all(&self, MachineMemory { ram, regions }: MachineMemory) -> Result<()> {
        let mut changes = self.change();
        for region in ram.iter() {
            let start = region.start_addr().raw_value();
            changes.add(Region::new(&ram, start..start + region.len()))?;
        }
        regions.into_iter().try_for_each(|region| changes.add(region))?;
        changes.commit()
    }

    /// Begins a transaction. Waits until no other transaction is open.
    #[must_use]
    pub fn change(&self) -> MemoryChanges<'_> {
        MemoryChanges {
            calls: &self.calls,
            state: self.lock(),
            deletes: Vec::new(),
            adds: Vec::new(),
            backing: Vec::new(),
        }
    }

    /// Returns the current slots. Holding the result blocks changes, so hold it only briefly.
    #[must_use]
    pub fn slots(&self) -> Slots<'_> {
        Slots(self.lock())
    }

    /// Switches KVM_MEM_LOG_DIRTY_PAGES of every slot that the guest can write, in place. Slots added later have the
    /// same setting. A slot that already has it needs no call.
    ///
    /// # Errors
    /// [`Error::Kvm`](crate::Error::Kvm) when the ioctl fails. The slots are unchanged then.
    pub fn set_log_dirty(&self, on: bool) -> Result<()> {
        let mut state = self.lock();
        let calls = plan_log_dirty(&state.table, on);
        apply(&self.calls, &mut state.table, &calls)?;
        state.table.log_dirty = on;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The slots of a machine; see [`Memory::slots`].
#[derive(Debug)]
pub struct Slots<'a>(MutexGuard<'a, State>);

impl Slots<'_> {
    /// Iterates over all slots, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.table.iter()
    }

    /// Returns the slot with this number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Slot> {
        self.0.table.get(id)
    }

    /// Reports the pages that this process (a loader or a device) has written since the last call, as a slot and a page
    /// of it.
    pub fn take_written(&self, mut each: impl FnMut(&Slot, u64)) {
        for region in self.0.backing.iter().flat_map(|ram| ram.iter()) {
            for (word, bits) in (0..).zip((**region).bitmap().get_and_reset()) {
                for bit in (0..64).filter(|bit| bits & (1 << bit) != 0) {
                    let host = region.as_ptr() as u64 + (word * 64 + bit) * PAGE;
                    let slots = self.iter().filter(|slot| host.wrapping_sub(slot.host) < slot.size);
                    slots.for_each(|slot| each(slot, (host - slot.host) / PAGE));
                }
            }
        }
    }
}

/// A transaction. It collects changes, and [`MemoryChanges::commit`] applies them, all deletes before all adds.
/// Dropping it without a commit changes nothing.
///
/// Where an add overlaps a delete, the guest finds no memory for a moment: stop the vCPUs first.
#[derive(Debug)]
pub struct MemoryChanges<'a> {
    calls: &'a SlotCalls,
    state: MutexGuard<'a, State>,
    deletes: Vec<Range<u64>>,
    adds: Vec<Extent>,
    backing: Vec<GuestRam>,
}

impl MemoryChanges<'_> {
    /// Deletes a region that was added with exactly this range before this transaction. Has no effect if no part of the
    /// range is mapped.
    pub fn delete(&mut self, range: Range<u64>) {
        self.deletes.push(range);
    }

    /// Adds a region.
    ///
    /// # Errors
    /// [`Error::Region`](crate::Error::Region) when the region is not contiguous in its RAM.
    pub fn add(&mut self, region: Region) -> Result<()> {
        let Region { start, size, ram, ram_address, read_only } = region;
        let Some(host) = host_address(&ram, ram_address, size) else {
            let rule = format!("{size:#x} bytes from {ram_address:#x} on are not one piece of RAM");
            return Err(RegionError { start, rule }.into());
        };
        self.adds.push(Extent { start, size, host, read_only });
        if !self.state.backing.iter().chain(&self.backing).any(|ram| holds(ram, host)) {
            self.backing.push(ram);
        }
        Ok(())
    }

    /// Makes the calls, if anything differs.
    ///
    /// # Errors
    /// [`Error::Region`](crate::Error::Region) when the kernel has too few slots, [`Error::Kvm`](crate::Error::Kvm)
    /// with slot, start and size when an ioctl fails. The slots are unchanged then.
    pub fn commit(mut self) -> Result<()> {
        let state = &mut *self.state;
        let calls = plan(&state.table, &self.deletes, &self.adds).map_err(|Full| RegionError {
            start: self.adds.last().map_or(0, |extent| extent.start),
            rule: format!("the kernel supports at most {} memory slots", state.table.limits.slots),
        })?;
        apply(self.calls, &mut state.table, &calls)?;
        let State { table, backing } = state;
        backing.append(&mut self.backing);
        backing.retain(|ram| table.iter().any(|slot| holds(ram, slot.host)));
        Ok(())
    }
}

/// Makes all calls. If one fails, reverts those before it.
fn apply(kernel: &SlotCalls, table: &mut SlotTable, calls: &[SlotCall]) -> Result<()> {
    let mut next = table.clone();
    let mut undo = Vec::new();
    for call in calls {
        if let Err(error) = set(kernel, call) {
            // The kernel normally accepts the previous slots again. If it does not, the first error still reports the
            // cause.
            for call in undo.iter().rev() {
                let _ = set(kernel, call);
            }
            return Err(error);
        }
        undo.push(next.get(call.slot().id).copied().map_or(SlotCall::Delete(*call.slot()), SlotCall::Set));
        next.apply(call);
    }
    *table = next;
    Ok(())
}

fn set(kernel: &SlotCalls, call: &SlotCall) -> Result<()> {
    // SAFETY: a `Memory` owns the RAM behind each slot until the kernel has taken the slot's deletion, and the owner of each vCPU
    // holds a clone of the `Memory` (see [`Memory`]).
    Ok(unsafe { kernel.set(call) }?)
}
