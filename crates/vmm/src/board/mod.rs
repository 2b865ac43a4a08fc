//! Machines with a board: `handle.rs` creates them, `machine.rs` executes their commands, `direct.rs` and `vsock.rs` have what needs no command.

mod direct;
mod handle;
mod machine;
mod vsock;

pub use direct::DirectAccess;
pub use handle::BoardVmm;
pub use machine::BoardMachine;
