//! Errors of the kernel interface.

use crate::errno_text::errno_text;
use crate::trace::called;
use crate::upstream::statistics::StatsError;
use std::path::PathBuf;
use vmm_sys_util::errno;

/// The result of a call to the kernel.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call to the kernel failed. The accelerator returns it unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The device could not be opened.
    #[error("cannot open {}: {}", device.display(), errno_text(*errno))]
    Open {
        /// The device, `/dev/kvm` unless the `device` property names another.
        device: PathBuf,
        /// The kernel's error number.
        errno: i32,
    },
    /// The file behind the `device` property is not a KVM device.
    #[error("{} is not a KVM device", device.display())]
    NotKvm {
        /// The file.
        device: PathBuf,
    },
    /// The kernel implements another version of the API.
    #[error("unsupported KVM API version {found}: expected 12")]
    ApiVersion {
        /// The version that the kernel reports.
        found: i32,
    },
    /// An ioctl failed.
    #[error("{ioctl} failed{}{context}: {}", if context.is_empty() { "" } else { " for " }, errno_text(*errno))]
    Ioctl {
        /// The ioctl by the kernel's name.
        ioctl: &'static str,
        /// The object of the call (slot and range, vCPU, capability). Empty if the ioctl's name suffices.
        context: String,
        /// The kernel's error number.
        errno: i32,
    },
    /// The kernel's statistics could not be read.
    #[error(transparent)]
    Statistics(#[from] StatsError),
}

impl Error {
    /// Returns the stable code, the same in Rust and TypeScript.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } | Self::NotKvm { .. } | Self::ApiVersion { .. } => "ERR_KVM_UNAVAILABLE",
            Self::Ioctl { .. } | Self::Statistics(StatsError::Read { .. }) => "ERR_KVM_IOCTL",
            Self::Statistics(StatsError::Format { .. }) => "ERR_KVM_STATS",
        }
    }

    /// Returns what the user can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Open { errno: libc::EMFILE | libc::ENFILE, .. }
            | Self::Ioctl { errno: libc::EMFILE | libc::ENFILE, .. } => {
                "Close files, or raise the limit on open files (ulimit -n; for the host, sysctl fs.file-max)."
            }
            Self::Open { .. } => "Run `kvm-accel doctor` for what this host lacks.",
            Self::NotKvm { .. } => "Name the KVM device, usually /dev/kvm, in the property 'device'.",
            Self::ApiVersion { .. } => "Use a Linux kernel of version 2.6.22 or later with a mainline KVM.",
            Self::Ioctl { .. } | Self::Statistics(StatsError::Read { .. }) => {
                "The kernel's log may say more; `kvm-accel doctor` shows what this host offers."
            }
            Self::Statistics(StatsError::Format { .. }) => {
                "Report it with the kernel's version; everything else works without statistics."
            }
        }
    }

    /// Returns the kernel's error number, if a call to the kernel failed.
    #[must_use]
    pub const fn errno(&self) -> Option<i32> {
        match self {
            Self::Open { errno, .. } | Self::Ioctl { errno, .. } => Some(*errno),
            Self::Statistics(StatsError::Read { errno, .. }) => Some(*errno),
            Self::NotKvm { .. } | Self::ApiVersion { .. } | Self::Statistics(StatsError::Format { .. }) => None,
        }
    }

    /// Returns the call that failed, by the kernel's name.
    #[must_use]
    pub const fn ioctl(&self) -> Option<&'static str> {
        match self {
            Self::Ioctl { ioctl, .. } => Some(ioctl),
            Self::Statistics(StatsError::Read { .. }) => Some("pread"),
            _ => None,
        }
    }
}

/// Traces the ioctl that has just returned, and returns the function for `map_err` that builds its error.
pub(crate) fn failed(ioctl: &'static str, context: impl Into<String>) -> impl FnOnce(errno::Error) -> Error {
    called(ioctl, None);
    error_of(ioctl, context)
}

/// Returns the function for `map_err` that builds the error of an ioctl. Traces nothing.
pub(crate) fn error_of(ioctl: &'static str, context: impl Into<String>) -> impl FnOnce(errno::Error) -> Error {
    let context = context.into();
    move |error| Error::Ioctl { ioctl, context, errno: error.errno() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_ioctl_error_names_ioctl_context_and_errno() {
        let error = Error::Ioctl { ioctl: "KVM_CREATE_VCPU", context: "vCPU 1".into(), errno: libc::ENOMEM };
        assert_eq!(error.to_string(), "KVM_CREATE_VCPU failed for vCPU 1: Cannot allocate memory");
        assert_eq!((error.code(), error.errno()), ("ERR_KVM_IOCTL", Some(libc::ENOMEM)));
    }
}
