//! The configuration of a machine: serde types that the caller sends, without pointers, callbacks or descriptors.
//!
//! ```text
//! JSON --parse--> MachineConfig --plan: checks ranges--> MachinePlan --open: files, sockets, processes--> BoardConfig
//!                                caller's thread         control thread
//! ```
//!
//! The names are those of the TypeScript package's machine options. One file describes one concept.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `source`: bytes, or the path of a file.
//! - `opened`: streams and devices that the control thread opens for the caller.
//! - `accelerator`, `generation`, `memory`, `msr_filter`, `rtc`, `topology`: options that need no other module.
//! - `serial`: serial ports and debug consoles.
//! - `fw_cfg`: files of fw_cfg.
//! - `virtio`: virtio devices.
//! - `machine`: the whole configuration.
//! - `parse`: reads it from JSON.
//! - `plan`: checks its ranges and opens its files.

mod accelerator;
mod fw_cfg;
mod generation;
mod machine;
mod memory;
mod msr_filter;
mod opened;
mod parse;
mod plan;
mod rtc;
mod serial;
mod source;
mod topology;
mod virtio;

#[cfg(test)]
mod tests;

pub use accelerator::{AccelConfig, NotifyBudgetConfig};
pub use fw_cfg::FwCfgContent;
pub use machine::{DebugExitConfig, LostTicks, MachineConfig, ModuleConfig};
pub use memory::{MemoryBackend, MemoryConfig};
pub use msr_filter::{MsrRead, MsrRuleConfig, MsrWrite};
pub(crate) use opened::Opened;
pub(crate) use plan::{MachinePlan, OpenMachine};
pub use rtc::{RtcClock, RtcConfig};
pub use serial::{DebugConsoleConfig, Target};
pub use source::{Source, TakeBytes};
pub use topology::TopologyConfig;
pub use virtio::{
    BackendConfig, BalloonConfig, ConsoleConfig, DiskConfig, ForwardConfig, LimitsConfig, NetworkConfig, Protocol,
    RngConfig, ThrottleConfig, VsockConfig,
};
