//! `notify-vmexit`, `notify-window`, and the properties that QEMU lacks: `notify-required`, `notify-budget`.

use crate::{Error, Result};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// The effect of a notify VM exit (QEMU's `NotifyVMexitOption`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotifyPolicy {
    /// Warn once and continue, unless the context is invalid.
    #[default]
    Run,
    /// Stop the machine in run state `internal-error`.
    InternalError,
    /// Do not enable notify VM exits.
    Disable,
}

impl NotifyPolicy {
    /// Returns QEMU's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::InternalError => "internal-error",
            Self::Disable => "disable",
        }
    }
}

impl FromStr for NotifyPolicy {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self> {
        [Self::Run, Self::InternalError, Self::Disable].into_iter().find(|p| p.as_str() == value).ok_or_else(|| {
            Error::Property {
                property: "notify-vmexit",
                rule: format!("does not accept value '{value}': expected run, internal-error or disable"),
            }
        })
    }
}

/// `notify-budget=N/T`: more than `exits` notify exits within `window` make `run` behave as `internal-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyBudget {
    /// N, at least 1.
    pub exits: NonZeroU32,
    /// T.
    pub window: Duration,
}

impl NotifyBudget {
    /// N exits within T seconds.
    ///
    /// # Errors
    /// Either number is 0.
    pub fn new(exits: u32, seconds: u32) -> Result<Self> {
        match (NonZeroU32::new(exits), seconds) {
            (Some(exits), 1..) => Ok(Self { exits, window: Duration::from_secs(seconds.into()) }),
            _ => Err(Error::Property {
                property: "notify-budget",
                rule: format!("is {exits}/{seconds}: expected two numbers of at least 1"),
            }),
        }
    }
}

/// All notify properties. Any 32-bit window is valid. Its unit is the kernel's (clock cycles).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyProperties {
    /// `notify-vmexit`.
    pub policy: NotifyPolicy,
    /// `notify-window`.
    pub window: u32,
    /// `notify-required`: fail if the host cannot enforce the policy.
    pub required: bool,
    /// The user set a policy or a window, so a host without the capability causes a warning.
    pub asked: bool,
    /// `notify-budget`; `None` is unlimited.
    pub budget: Option<NotifyBudget>,
}

impl NotifyProperties {
    /// Returns the argument of KVM_ENABLE_CAP: window in bits 63:32, flags ENABLED (1) and USER (2) below.
    #[must_use]
    pub const fn enable_argument(&self) -> u64 {
        (self.window as u64) << 32 | 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_enable_argument_has_window_above_flags() {
        for (window, expected) in [(0, 3), (7, 0x7_0000_0003), (u32::MAX, 0xffff_ffff_0000_0003)] {
            assert_eq!(NotifyProperties { window, ..Default::default() }.enable_argument(), expected);
        }
    }

    #[test]
    fn test_policy_refuses_unknown_value_by_name() {
        let error = "panic".parse::<NotifyPolicy>().unwrap_err();
        assert!(error.to_string().contains("notify-vmexit") && error.to_string().contains("'panic'"));
    }

    #[test]
    fn test_budget_of_zero_is_refused() {
        assert!(NotifyBudget::new(0, 1).is_err() && NotifyBudget::new(1, 0).is_err());
        assert!(NotifyBudget::new(1, 1).is_ok());
    }
}
