//! One control thread for each machine.
//!
//! ```text
//! caller --Command--> Inbox --> control thread (owns the machine and the run state) --Reply, Event--> Outbox --> caller
//!                       ^                                                                               ^
//!                       +---- the last vCPU has parked: StopReason ---- vCPU threads ---- Notify, ... --+
//! ```
//!
//! - [`Command`], [`Reply`], [`Event`], [`Failure`]: what crosses, as serde types without pointers or descriptors.
//! - [`MachineConfig`]: the configuration of a machine, in the same form.
//! - [`RunState`] and [`Operation`]: QEMU's run states and the one table of what is allowed in each.
//! - [`Vmm`]: the handle. [`Vmm::spawn`] starts the control thread, which builds the machine. [`BoardVmm`]: the handle of a machine with a
//!   board, which is built from a [`MachineConfig`].
//! - [`Outbox`]: the bounded queue towards the caller, and the socket that wakes it.
//!
//! Commands are executed in the order in which they were sent. [`Vmm::end`] overtakes them: it cancels the command that is being
//! executed and ends the machine.

mod board;
mod command;
pub mod config;
mod control;
mod event;
mod failure;
mod inbox;
mod machine;
mod outbox;
mod policy;
mod reply;
mod run_state;
mod sync;
mod vmm;

pub use board::{BoardMachine, BoardVmm, DirectAccess};
pub use command::{Command, DeviceClaim};
pub use config::MachineConfig;
pub use event::{Event, Exit, ExitReason};
pub use failure::{Failure, FailureDetails};
pub use machine::Machine;
pub use outbox::{Message, Outbox};
pub use policy::Policy;
pub use reply::Reply;
pub use run_state::{Operation, RunState};
pub use vmm::{Built, Sender, Vmm};

#[cfg(test)]
mod tests;
