//! The configuration of a machine.

use super::accelerator::AccelConfig;
use super::fw_cfg::FwCfgContent;
use super::memory::MemoryConfig;
use super::msr_filter::MsrRuleConfig;
use super::rtc::RtcConfig;
use super::serial::{DebugConsoleConfig, Target};
use super::source::Source;
use super::topology::TopologyConfig;
use super::virtio::{BalloonConfig, ConsoleConfig, DiskConfig, NetworkConfig, RngConfig, VsockConfig};
use kvm_accel::cpu::CpuProperties;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The configuration of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineConfig {
    /// Accelerator properties.
    pub accel: AccelConfig,
    /// RAM.
    pub memory: MemoryConfig,
    /// Core dumps of this process contain guest memory.
    pub dump_guest_core: bool,
    /// The most events of the guest that wait for the caller, 16 to 65536.
    pub max_queued_events: u32,
    /// The number of vCPUs, 1 to 255.
    pub cpus: u32,
    /// How the vCPUs are arranged.
    pub topology: TopologyConfig,
    /// The guest's CPU: model, features and other properties.
    pub cpu: CpuProperties,
    /// An idle guest keeps its physical CPU, QEMU's `-overcommit cpu-pm=on`.
    pub cpu_pm: bool,
    /// MSRs that userspace handles.
    pub msr_filter: Vec<MsrRuleConfig>,
    /// Bus locks per second before a vCPU is slowed down; 0 is no limit.
    pub bus_lock_ratelimit: u64,
    /// The kernel. Without one, the firmware chooses what to boot.
    pub kernel: Option<Source>,
    /// The image that is mapped at the reset vector.
    pub firmware: Option<Source>,
    /// `auto`, `flat`, `linux`, `multiboot` or `pvh`.
    pub kernel_format: String,
    /// The initrd, or the modules of a multiboot kernel.
    pub initrd: Vec<ModuleConfig>,
    /// The kernel's command line.
    pub append: String,
    /// Adds words about devices to the command line of a Linux kernel.
    pub auto_kernel_cmdline: bool,
    /// The targets of COM1 to COM4; none for a port that does not exist.
    pub serials: Vec<Option<Target>>,
    /// The debug console.
    pub debug_console: Option<DebugConsoleConfig>,
    /// The machine has two 8259 interrupt controllers.
    pub pic: bool,
    /// The machine has an 8254 timer.
    pub pit: bool,
    /// The machine has an HPET.
    pub hpet: bool,
    /// The CMOS clock.
    pub rtc: RtcConfig,
    /// The `isa-debug-exit` device.
    pub debug_exit: Option<DebugExitConfig>,
    /// Files of `fw_cfg`, by name.
    pub fw_cfg: BTreeMap<String, FwCfgContent>,
    /// The `pc-testdev` device.
    pub test_devices: bool,
    /// The `pvpanic` device.
    pub pvpanic: bool,
    /// The machine's generation, a UUID.
    pub vm_generation_id: Option<String>,
    /// Gives the guest ACPI tables.
    pub acpi: bool,
    /// The policy for ticks of the in-kernel PIT that the guest missed.
    pub lost_tick_policy: LostTicks,
    /// `virtio-blk` devices.
    pub disks: Vec<DiskConfig>,
    /// `virtio-net` devices.
    pub networks: Vec<NetworkConfig>,
    /// The `virtio-rng` device.
    pub rng: Option<RngConfig>,
    /// The `virtio-vsock` device.
    pub vsock: Option<VsockConfig>,
    /// The `virtio-balloon` device.
    pub balloon: Option<BalloonConfig>,
    /// The ports of the `virtio-console` device.
    pub consoles: Vec<ConsoleConfig>,
    /// True if a reset by the guest ends the machine.
    pub no_reboot: bool,
    /// True if the machine stays after the guest has shut down.
    pub no_shutdown: bool,
    /// Globs of the trace events that are recorded from the first ioctl on.
    pub trace: Vec<String>,
    /// The program's name in a multiboot command line, for a kernel that does not come from a file.
    pub name: Option<String>,
}

/// An initrd, or a module of a multiboot kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleConfig {
    /// The image.
    pub image: Source,
    /// The module's command line.
    pub cmdline: String,
}

/// The ports of `isa-debug-exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugExitConfig {
    /// The first port.
    pub iobase: u32,
    /// The number of ports.
    pub iosize: u32,
}

/// The policy for ticks of the in-kernel PIT that the guest missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LostTicks {
    /// Missed ticks are delivered later, one after the other.
    Delay,
    /// Missed ticks are dropped.
    Discard,
}
