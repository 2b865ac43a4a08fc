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
    #[error("the kernel does not offer {0}, which the accelerator requires")]
    MissingCapability(Capability),
    /// More vCPUs than this kernel can run in one VM.
    #[error("{cpus} vCPUs were asked for, and this kernel runs at most {limit} in one machine")]
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
    #[error("notify-required=on, but this host does not offer KVM_CAP_X86_NOTIFY_VMEXIT (219)")]
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
    #[error("the time-stamp counter cannot run at {wanted} kHz: the host's runs at {current} kHz and does not scale")]
    TscFrequency {
        /// kHz.
        wanted: u32,
        /// kHz; 0 when unknown.
        current: u32,
    },
    /// `bus-lock-ratelimit` on a host that cannot detect bus locks.
    #[error("bus-lock-ratelimit needs KVM_CAP_X86_BUS_LOCK_EXIT (193), which this host does not offer")]
    BusLockUnsupported,
    /// MSR filters on a kernel without MSR filtering.
    #[error("msrFilter needs KVM_CAP_X86_MSR_FILTER (189), which this kernel does not offer")]
    MsrFilterUnsupported,
    /// A request for statistics on a kernel without them.
    #[error("the kernel does not offer KVM_CAP_BINARY_STATS_FD (203), which statistics need")]
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
    #[error("vCPU {vcpu} cannot be reset: {source}")]
    Reset {
        /// The vCPU's index.
        vcpu: u32,
        /// The call that failed.
        source: Box<Error>,
        /// Registers and code bytes as QEMU prints them, several lines.
        report: String,
    },
    /// A request for registers while the vCPU runs, or of a vCPU that does not exist.
    #[error("the registers of vCPU {vcpu} are not to be had: it runs, or there is no such vCPU")]
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
    #[error("the kernel does not offer KVM_CAP_SET_GUEST_DEBUG (23), so that guests cannot be debugged")]
    DebugUnsupported,
    /// An address that is not in the guest's RAM, or that its page tables do not map.
    #[error("the guest's memory at {address:#x} cannot be reached: no page table maps it, or no RAM is there")]
    GuestMemory {
        /// The first such address.
        address: u64,
    },
    /// The machine ended while an operation waited for a vCPU.
    #[error("the machine was ended before this operation had completed")]
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
            Self::MissingCapability(_) => {
                "Use a newer kernel: Linux 4.5 has all required capabilities but KVM_CAP_IMMEDIATE_EXIT (4.11)."
            }
            Self::StatsUnsupported => "Use Linux 5.14 or later; the machine runs without, and counts its exits itself.",
            Self::Memory(_) => "Map fewer or larger pieces of memory.",
            Self::Reset { .. } => "The machine cannot go on: make a new one.",
            Self::Breakpoint { problem, .. } => problem.remedy(),
            Self::DebugUnsupported => "Use a kernel and a KVM module that have it; everything else works without.",
            Self::GuestMemory { .. } => "Name mapped memory, or a physical address below the machine's memory size.",
            Self::Running { .. } => "Stop the machine first.",
            Self::TooManyVcpus { .. } => "Ask for fewer vCPUs.",
            Self::NotifyUnsupported => {
                "Use an Intel host from 2022 or later with Linux 6.0 or later, or leave notify-required off."
            }
            Self::Property { .. } => "See docs/reference/accelerator-properties.md for the values it takes.",
            Self::Cpu { .. } => "See docs/reference/cpu.md for what it takes.",
            Self::TscFrequency { .. } => "Leave the frequency out, or use a host with TSC scaling.",
            Self::BusLockUnsupported => "Use an Intel host from 2021 or later, or leave the limit out.",
            Self::MsrFilterUnsupported => "Use Linux 5.10 or later.",
            Self::Ended => "Create a new machine.",
            Self::Unresponsive { .. } => {
                "See what the thread waits for (/proc/PID/task/TID/stack and wchan); a process that cannot be signalled may have a seccomp filter."
            }
            Self::Panicked { .. } => "Report the message: it is an error of this package.",
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
