//! Errors of setting up and running an accelerator.

use crate::debug::BreakpointProblem;
use kvm_accel_kvm::Capability;
use kvm_accel_kvm::errno_text;
use kvm_accel_memory::RegionError;
use std::time::Duration;

/// The result of every fallible operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error with a stable [`code`](Error::code), the rule that was broken and a [`remedy`](Error::remedy).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A call to the kernel failed.
    #[error(transparent)]
    Kvm(#[from] kvm_accel_kvm::Error),
    /// The kernel lacks a capability that QEMU also requires.
    #[error("this kernel does not support {0}, which the accelerator requires")]
    MissingCapability(Capability),
    /// More vCPUs than this kernel can run in one VM.
    #[error("invalid number of vCPUs {cpus}: this kernel supports at most {limit} in one machine")]
    TooManyVcpus {
        /// The requested number.
        cpus: u32,
        /// KVM_CAP_MAX_VCPUS.
        limit: u32,
    },
    /// A memory region that is invalid.
    #[error(transparent)]
    Memory(RegionError),
    /// `notify-required=on` on a host that cannot enforce the policy.
    #[error("notify-required=on, but this host does not support KVM_CAP_X86_NOTIFY_VMEXIT (219)")]
    NotifyUnsupported,
    /// An invalid processor configuration.
    #[error("{rule}")]
    Cpu {
        /// The machine option.
        option: &'static str,
        /// The invalid value and the rule.
        rule: String,
    },
    /// A TSC frequency that differs from the host's, on a host that cannot scale the TSC.
    #[error("cannot set the time-stamp counter to {wanted} kHz: the host's runs at {current} kHz and does not scale")]
    TscFrequency {
        /// kHz.
        wanted: u32,
        /// kHz; 0 when unknown.
        current: u32,
    },
    /// `bus-lock-ratelimit` on a host that cannot detect bus locks.
    #[error("bus-lock-ratelimit needs KVM_CAP_X86_BUS_LOCK_EXIT (193), which this host does not support")]
    BusLockUnsupported,
    /// MSR filters on a kernel without MSR filtering.
    #[error("msrFilter needs KVM_CAP_X86_MSR_FILTER (189), which this kernel does not support")]
    MsrFilterUnsupported,
    /// A request for statistics on a kernel without them.
    #[error("statistics need KVM_CAP_BINARY_STATS_FD (203), which this kernel does not support")]
    StatsUnsupported,
    /// An invalid value of a property.
    #[error("property 'kvm-accel.{property}' {rule}")]
    Property {
        /// The property by QEMU's name.
        property: &'static str,
        /// The rule that was broken.
        rule: String,
    },
    /// Restoring a vCPU's power-on state failed.
    #[error("cannot reset vCPU {vcpu}: {source}")]
    Reset {
        /// The vCPU's index.
        vcpu: u32,
        /// The call that failed.
        source: Box<Error>,
        /// Registers and code bytes as QEMU prints them, several lines.
        report: String,
    },
    /// A request for registers while the vCPU runs, or of a vCPU that does not exist.
    #[error("cannot access the registers of vCPU {vcpu}: the vCPU is running or does not exist")]
    Running {
        /// The vCPU's index.
        vcpu: u32,
    },
    /// Setting or removing a breakpoint failed.
    #[error("{what}: {}", problem.rule())]
    Breakpoint {
        /// The breakpoint.
        what: String,
        /// The rule that was broken.
        problem: BreakpointProblem,
    },
    /// The kernel cannot debug guests.
    #[error("guest debugging needs KVM_CAP_SET_GUEST_DEBUG (23), which this kernel does not support")]
    DebugUnsupported,
    /// An address that is not in the guest's RAM, or that its page tables do not map.
    #[error("cannot access guest memory at {address:#x}: the guest's page tables do not map it, or it is not RAM")]
    GuestMemory {
        /// The first such address.
        address: u64,
    },
    /// The machine ended while an operation waited for a vCPU.
    #[error("the machine ended before this operation completed")]
    Ended,
    /// A vCPU's thread did not complete an operation in time.
    #[error("vCPU {vcpu} did not {operation} within {} s: the thread 'CPU {vcpu}/KVM' is blocked", limit.as_secs())]
    Unresponsive {
        /// The vCPU's index.
        vcpu: u32,
        /// The operation.
        operation: &'static str,
        /// How long the operation waited.
        limit: Duration,
    },
    /// An operation panicked on a vCPU's thread.
    #[error("an operation on vCPU {vcpu} panicked: {message}")]
    Panicked {
        /// The vCPU's index.
        vcpu: u32,
        /// The text of the panic.
        message: String,
    },
    /// A thread for a vCPU could not be started.
    #[error("cannot start the thread of vCPU {vcpu}: {}", errno_text(*errno))]
    Thread {
        /// The vCPU's index.
        vcpu: u32,
        /// The system's error number.
        errno: i32,
    },
}

impl Error {
    /// Returns the stable code, the same in Rust and TypeScript.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Kvm(error) => error.code(),
            Self::MissingCapability(_)
            | Self::StatsUnsupported
            | Self::BusLockUnsupported
            | Self::MsrFilterUnsupported => "ERR_KVM_CAPABILITY",
            Self::Thread { .. } => "ERR_KVM_IOCTL",
            Self::TooManyVcpus { .. } | Self::Memory(_) | Self::Cpu { .. } | Self::TscFrequency { .. } => {
                "ERR_MACHINE_CONFIG"
            }
            Self::Reset { source, .. } => source.code(),
            Self::Running { .. } | Self::Ended => "ERR_MACHINE_STATE",
            Self::Unresponsive { .. } | Self::Panicked { .. } => "ERR_KVM_VCPU",
            Self::Breakpoint { .. } => "ERR_BREAKPOINT",
            Self::DebugUnsupported => "ERR_KVM_CAPABILITY",
            Self::GuestMemory { .. } => "ERR_GUEST_MEMORY",
            Self::NotifyUnsupported => "ERR_NOTIFY_UNSUPPORTED",
            Self::Property { .. } => "ERR_ACCEL_PROPERTY",
        }
    }

    /// Returns what the user can do about the error.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Kvm(error) => error.remedy(),
            Self::MissingCapability(_) => "Use Linux 4.11 or later.",
            Self::StatsUnsupported => {
                "Use Linux 5.14 or later. Without the kernel's statistics, the machine still runs and counts its own exits."
            }
            Self::Memory(_) => "Map fewer and larger regions of memory.",
            Self::Reset { .. } => "Create a new machine: this one is unusable.",
            Self::Breakpoint { problem, .. } => problem.remedy(),
            Self::DebugUnsupported => {
                "Use a kernel with this capability. All other functions of the machine work without it."
            }
            Self::GuestMemory { .. } => {
                "Use a linear address that the guest has mapped, or a physical address below the machine's memory size."
            }
            Self::Running { .. } => "Pause the machine first.",
            Self::TooManyVcpus { .. } => "Use fewer vCPUs.",
            Self::NotifyUnsupported => {
                "Use an Intel host from 2022 or later with Linux 6.0 or later, or set notify-required=off."
            }
            Self::Property { .. } => "See docs/reference/accelerator-properties.md for the accepted values.",
            Self::Cpu { .. } => "See docs/reference/cpu.md for the accepted values.",
            Self::TscFrequency { .. } => "Omit the frequency, or use a host with TSC scaling.",
            Self::BusLockUnsupported => "Use an Intel host from 2021 or later, or omit the limit.",
            Self::MsrFilterUnsupported => "Use Linux 5.10 or later.",
            Self::Ended => "Create a new machine.",
            Self::Unresponsive { .. } => {
                "Read /proc/PID/task/TID/stack and wchan to see what the thread waits for. A seccomp filter may block the signal."
            }
            Self::Panicked { .. } => "This is a bug in kvm-accel: please report it with this message.",
            Self::Thread { .. } => {
                "Raise the limit on threads (ulimit -u, the cgroup's pids.max) or run fewer machines."
            }
        }
    }

    /// Returns the capability that is missing.
    #[must_use]
    pub const fn capability(&self) -> Option<Capability> {
        match self {
            Self::MissingCapability(capability) => Some(*capability),
            Self::StatsUnsupported => Some(Capability::BinaryStatsFd),
            Self::BusLockUnsupported => Some(Capability::X86BusLockExit),
            Self::MsrFilterUnsupported => Some(Capability::X86MsrFilter),
            Self::NotifyUnsupported => Some(Capability::X86NotifyVmexit),
            Self::DebugUnsupported => Some(Capability::SetGuestDebug),
            _ => None,
        }
    }

    /// Returns the kernel's error number, if a call to the kernel failed.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self {
            Self::Kvm(error) => error.errno(),
            Self::Thread { errno, .. } => Some(*errno),
            Self::Reset { source, .. } => source.errno(),
            _ => None,
        }
    }

    /// Returns registers and code bytes, if resetting a vCPU failed.
    #[must_use]
    pub fn report(&self) -> Option<&str> {
        match self {
            Self::Reset { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Returns the machine option that is invalid.
    #[must_use]
    pub const fn option(&self) -> Option<&'static str> {
        match self {
            Self::TooManyVcpus { .. } => Some("cpus"),
            Self::Cpu { option, .. } => Some(option),
            Self::TscFrequency { .. } => Some("cpu"),
            _ => None,
        }
    }

    /// Returns the ioctl that failed, by the kernel's name.
    #[must_use]
    pub const fn ioctl(&self) -> Option<&'static str> {
        match self {
            Self::Kvm(error) => error.ioctl(),
            Self::Reset { source, .. } => source.ioctl(),
            _ => None,
        }
    }
}

impl From<kvm_accel_memory::Error> for Error {
    fn from(error: kvm_accel_memory::Error) -> Self {
        match error {
            kvm_accel_memory::Error::Kvm(error) => Self::Kvm(error),
            kvm_accel_memory::Error::Region(error) => Self::Memory(error),
        }
    }
}
