//! Guest memory in KVM's terms: slots, each a range of guest physical addresses backed by memory of this process.
//!
//! - `region`: the regions that a machine requests, aligned to pages and split at the maximum slot size.
//! - `table`: the slots of a machine as a value, and `plan`: a pure function from a table and changes to calls.
//! - `handle`: the same table in the kernel, changed in transactions.

mod handle;
mod plan;
mod region;
mod table;

pub use handle::{Memory, MemoryChanges, Slots};
pub use region::{MachineMemory, Region};
pub use table::Limits;
