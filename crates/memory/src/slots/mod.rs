//! Guest memory as KVM has it: slots, each a run of guest physical addresses backed by memory of this process.
//!
//! - `region`: what a machine wants mapped, aligned to pages and split where a slot cannot be larger.
//! - `slot`: one slot, and one call that changes it.
//! - `table`: the slots of a machine as a value, and `plan`: a pure function from a table and changes to calls.
//! - `handle`: the same table in the kernel, changed in transactions.

mod handle;
mod plan;
mod region;
mod slot;
mod table;

pub use handle::{Memory, MemoryChanges, Slots};
pub use region::{MachineMemory, Region};
pub use slot::Slot;
pub(crate) use slot::SlotCall;
pub(crate) use table::Limits;

/// Granularity of slots: the page size of an x86 host, in bytes.
pub(crate) const PAGE: u64 = 4096;
