//! The devices, one folder each. They do not depend on the transport.

pub mod balloon;
pub mod block;
pub mod console;
pub mod net;
pub mod rng;
pub mod vsock;
