//! The devices, a folder for each. None of them knows its transport.

pub mod balloon;
pub mod block;
pub mod console;
pub mod net;
pub mod rng;
pub mod vsock;
