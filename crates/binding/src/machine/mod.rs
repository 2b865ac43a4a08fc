//! The machine class. `handle.rs` has the object, its creation and its messages. Each other file has the methods of one concept.

mod balloon;
mod console;
mod device;
mod handle;
mod serial;
mod statistics;
mod trace;
mod vsock;
