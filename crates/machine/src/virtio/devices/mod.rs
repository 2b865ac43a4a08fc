//! The virtio devices. No device knows its transport.
//!
//! Modules, independent of each other:
//!
//! - `balloon`: returns unused guest memory to the host.
//! - `block`: disks.
//! - `console`: terminals, and named byte channels.
//! - `net`: networks.
//! - `rng`: entropy.
//! - `vsock`: streams between the guest and Unix sockets of the host.

pub mod balloon;
pub mod block;
pub mod console;
pub mod net;
pub mod rng;
pub mod vsock;
