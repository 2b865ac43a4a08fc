//! The Node-API addon of kvm-accel: conversions only. Every type that crosses is named `Binding*`.
//!
//! The addon has no thread-safe function and no `async fn`: when an environment ends, Node.js frees them while other threads still
//! use them. Events and replies wait in a queue (`kvm_accel_vmm::Outbox`), a socket pair wakes the event loop, and `take()` returns
//! them.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `error`: converts errors to data, which TypeScript throws.
//! - `bytes`: byte arrays of a machine's configuration.
//! - `environment`: ends the machines of a JavaScript environment when the environment ends.
//! - `cpu`: the names of CPU features and models.
//! - `guest`: the embedded guests.
//! - `host`: what the host supports.
//! - `pty`: pseudo-terminals.
//! - `unix_socket`: Unix sockets that Node.js listens on.
//! - `trace`: trace records.
//! - `baseline`: raw ioctls, for benchmarks.
//! - `messages`: commands, replies and events.
//! - `machine`: the class of a machine.
//! - `kvm`: the classes of KVM's object model.

// Under test napi exports nothing, so functions that only Node.js calls look unused.
#![cfg_attr(test, allow(dead_code, unused_imports))]

#[cfg(feature = "baseline")]
mod baseline;
mod bytes;
mod cpu;
mod environment;
mod error;
mod guest;
mod host;
mod kvm;
mod machine;
mod messages;
mod pty;
mod trace;
mod unix_socket;
