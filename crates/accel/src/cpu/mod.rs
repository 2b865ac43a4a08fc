//! What the guest's processors are: CPUID by features and models ([`features`], [`models`]), their places ([`Topology`]), the time-stamp
//! counter, MSRs that user space answers for ([`msr_filter`]) and bus locks ([`bus_lock`]).

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

/// A feature that is to be on or off, by QEMU's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureChange {
    /// See [`features::names`].
    pub name: String,
    /// Asked for, or taken away.
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
    /// `host`, `max`, or one of [`models::MODELS`]; another name is the host with a warning.
    pub model: String,
    /// In the order in which they apply.
    pub features: Vec<FeatureChange>,
    /// Warn of features that were asked for and are not there.
    pub check: bool,
    /// Fail for them.
    pub enforce: bool,
    /// The guest is told that this is KVM.
    pub kvm: bool,
    /// The performance monitoring unit: the host's with `host`, none with a model, unless this says otherwise.
    pub pmu: Option<bool>,
    /// Without what could not be migrated: an invariant time-stamp counter.
    pub migratable: bool,
    /// The time-stamp counter's frequency in kHz, if not the host's.
    pub tsc_khz: Option<u32>,
    /// How the vCPUs are arranged.
    pub topology: Topology,
    /// The guest keeps a physical CPU while it idles.
    pub disable_exits: bool,
    /// MSRs that are answered outside the kernel; a [`MsrRule`](msr_filter::MsrRule) makes one with fixed answers.
    pub msrs: Vec<MsrRange>,
    /// Bus locks in a second before the guest is slowed down; 0 leaves them alone.
    pub bus_lock_ratelimit: u64,
}

impl From<u32> for CpuConfig {
    /// [`CpuConfig::new`].
    fn from(cpus: u32) -> Self {
        Self::new(cpus)
    }
}

impl CpuConfig {
    /// The host's CPU, with a core for each vCPU.
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
