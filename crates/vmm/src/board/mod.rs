//! Machines with a board. `handle.rs` creates them and `machine.rs` executes their commands. `direct.rs` and `vsock.rs` are the access that
//! needs no command.

mod direct;
mod handle;
mod machine;
mod vsock;

pub use direct::DirectAccess;
pub use handle::BoardVmm;
pub use machine::BoardMachine;
