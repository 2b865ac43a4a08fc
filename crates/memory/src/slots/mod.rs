//! Guest memory as KVM has it: slots, each a run of guest physical addresses backed by memory of this process.
//!
//! - `region`: what a machine wants mapped, aligned to pages and split where a slot cannot be larger.
//! - `table`: the slots of a machine as a value, and `plan`: a pure function from a table and changes to calls.
//! - `handle`: the same table in the kernel, changed in transactions.

mod handle;
mod plan;
mod region;
mod table;

pub use handle::{Memory, MemoryChanges, Slots};
pub use region::{MachineMemory, Region};
pub use table::Limits;
