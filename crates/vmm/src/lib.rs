//! One control thread for each machine.
//!
//! ```text
//! caller --Command--> Inbox --> control thread (owns the machine and the run state) --Reply, Event--> Outbox --> caller
//!                       ^                                                                               ^
//!                       +---- the last vCPU has parked: StopReason ---- vCPU threads ---- Notify, ... --+
//! ```
//!
//! The control thread executes commands in the order in which they were sent. [`Vmm::end`] overtakes them: it cancels the current
//! command and ends the machine.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `sync`: synchronisation primitives, which a test replaces by shuttle's.
//! - `run_state`: QEMU's run states.
//! - `failure`: errors, as serde types.
//! - `operation`: the operations on a machine, and the run states that allow each of them.
//! - `policy`: what the control thread does when the guest stops by itself.
//! - `config`: the configuration of a machine, as serde types.
//! - `command`, `reply`, `event`: messages between caller and control thread, as serde types without pointers or descriptors.
//! - `inbox`: the queue that the control thread waits on.
//! - `outbox`: the bounded queue of replies and events, and the socket that wakes the caller.
//! - `machine`: the trait of a machine that the control thread owns.
//! - `control`: the control thread.
//! - `vmm`: the handle of a machine. [`Vmm::spawn`] starts the control thread, which builds the machine.
//! - `board`: a machine with a board, built from a [`MachineConfig`].

#![cfg_attr(test, recursion_limit = "256")]

mod board;
mod command;
pub mod config;
mod control;
mod event;
mod failure;
mod inbox;
mod machine;
mod operation;
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
pub use operation::Operation;
pub use outbox::{Message, Outbox};
pub use policy::Policy;
pub use reply::Reply;
pub use run_state::RunState;
pub use vmm::{Built, Sender, Vmm};

#[cfg(test)]
mod tests;
