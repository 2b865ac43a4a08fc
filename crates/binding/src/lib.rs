//! The Node-API addon of kvm-accel: conversions only. Every type that crosses is named `Binding*`.
//!
//! No thread-safe function and no `async fn`: Node frees them under foreign threads when an environment ends. Events and replies
//! wait in a queue (`kvm_accel_vmm::Outbox`), a socket pair wakes the event loop, and `take()` returns them.

// napi exports nothing under test, so that what only Node calls looks dead.
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
