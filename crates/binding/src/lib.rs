//! The Node-API addon of kvm-accel: conversions only. Every type that crosses is named `Binding*`.
//!
//! No thread-safe function and no `async fn`: Node frees them under foreign threads when an environment ends. Events and replies
//! wait in a queue (`kvm_accel_vmm::Outbox`), a socket pair wakes the event loop, and `take()` returns them.

// napi exports nothing under test, so that what only Node calls looks dead.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod balloon;
#[cfg(feature = "baseline")]
mod baseline;
mod bytes;
mod command;
mod config;
mod console;
mod cpu;
mod device;
mod environment;
mod error;
mod event;
mod guest;
mod host;
mod kvm;
mod legacy;
mod machine;
mod msrs;
mod plan;
mod pty;
mod reply;
mod serial;
mod statistics;
mod throttle;
mod trace;
mod unix_socket;
mod vcpu_state;
mod virtio;
mod vsock;
