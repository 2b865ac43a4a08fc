//! The guest's processors: CPUID by features and models ([`features`], [`models`]), the topology ([`Topology`]), the
//! time-stamp counter, MSRs that user space emulates ([`msr_filter`]) and bus locks ([`bus_lock`]).

pub mod bus_lock;
pub mod cpuid;
pub mod features;
pub mod models;
pub mod msr_filter;
mod topology;
mod tsc;

pub use topology::Topology;
pub use tsc::may_set;

use msr_filter::MsrRange;

/// A feature to switch on or off, by QEMU's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureChange {
    /// See [`features::names`].
    pub name: String,
    /// True to add the feature, false to remove it.
    pub on: bool,
}

/// A machine's processors, QEMU's `-cpu`, `-smp` and `-overcommit cpu-pm`.
///
/// ```
/// use kvm_accel::cpu::{CpuConfig, Topology};
///
/// let cpu = CpuConfig { model: "Haswell".into(), ..CpuConfig::new(4) };
/// assert_eq!(cpu.topology, Topology { sockets: 1, dies: 1, cores: 4, threads: 1 });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuConfig {
    /// `host`, `max`, or one of [`models::MODELS`]. Any other name selects the host's CPU with a warning.
    pub model: String,
    /// Feature changes, in the order in which they apply.
    pub features: Vec<FeatureChange>,
    /// Warn about requested features that the host lacks.
    pub check: bool,
    /// Fail if the host lacks requested features.
    pub enforce: bool,
    /// Show KVM's signature and features to the guest.
    pub kvm: bool,
    /// Whether the guest has a performance monitoring unit. `None`: the host's with `host`, none with a model.
    pub pmu: Option<bool>,
    /// Omit features that prevent migration: the invariant time-stamp counter.
    pub migratable: bool,
    /// The time-stamp counter's frequency in kHz, if not the host's.
    pub tsc_khz: Option<u32>,
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
            model: "host".into(),
            features: Vec::new(),
            check: true,
            enforce: false,
            kvm: true,
            pmu: None,
            migratable: false,
            tsc_khz: None,
            topology: Topology::of_cores(cpus),
            disable_exits: false,
            msrs: Vec::new(),
            bus_lock_ratelimit: 0,
        }
    }
}
