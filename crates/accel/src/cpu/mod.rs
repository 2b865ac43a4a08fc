//! The guest's processors: CPUID by features and models ([`features`], [`models`]), the topology ([`Topology`]), the
//! time-stamp counter, Hyper-V's interface ([`hyperv`], [`hypercall`]), MSRs that user space emulates ([`msr_filter`])
//! and bus locks ([`bus_lock`]).

pub mod bus_lock;
pub mod cpuid;
pub mod features;
pub mod hypercall;
pub mod hyperv;
pub mod models;
pub mod msr_filter;
mod properties;
mod topology;
mod tsc;

pub use properties::{CpuProperties, FeatureChange};
pub use topology::Topology;
pub use tsc::may_set;

use msr_filter::MsrRange;

/// A machine's processors, QEMU's `-cpu`, `-smp` and `-overcommit cpu-pm`.
///
/// ```
/// use kvm_accel::cpu::{CpuConfig, CpuProperties, Topology};
///
/// let properties = CpuProperties { model: "Haswell".into(), ..CpuProperties::default() };
/// let cpu = CpuConfig { properties, ..CpuConfig::new(4) };
/// assert_eq!(cpu.topology, Topology { sockets: 1, dies: 1, cores: 4, threads: 1 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuConfig {
    /// The model, its features and its other properties.
    pub properties: CpuProperties,
    /// How the vCPUs are arranged.
    pub topology: Topology,
    /// The guest keeps its physical CPU while it idles.
    pub disable_exits: bool,
    /// MSRs that user space emulates. A [`MsrRule`](msr_filter::MsrRule) creates a range with fixed results.
    pub msrs: Vec<MsrRange>,
    /// Maximum number of bus locks per second before the guest is throttled. 0 disables the limit.
    pub bus_lock_ratelimit: u64,
}

impl From<u32> for CpuConfig {
    /// Equivalent to [`CpuConfig::new`].
    fn from(cpus: u32) -> Self {
        Self::new(cpus)
    }
}

impl CpuConfig {
    /// Returns the host's CPU, with a core for each vCPU.
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        Self {
            properties: CpuProperties::default(),
            topology: Topology::of_cores(cpus),
            disable_exits: false,
            msrs: Vec::new(),
            bus_lock_ratelimit: 0,
        }
    }
}
