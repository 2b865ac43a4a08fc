//! Errors as data: the values that cross into TypeScript.

use crate::RunState;
use kvm_accel::KvmError;
use kvm_accel::cancel::Cancelled;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{BoardError, Unquiet};
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// An error of a command, or of the creation of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure(Box<FailureDetails>);

impl Failure {
    /// Returns the details as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialising strings, numbers and names of states does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Deref for Failure {
    type Target = FailureDetails;

    fn deref(&self) -> &FailureDetails {
        &self.0
    }
}

impl From<FailureDetails> for Failure {
    fn from(details: FailureDetails) -> Self {
        Self(Box::new(details))
    }
}

/// The fields of a [`Failure`]. `code` is stable and selects the class in TypeScript.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDetails {
    /// Stable code, such as `ERR_KVM_IOCTL`.
    pub code: String,
    /// What failed, the value, and what was expected.
    pub message: String,
    /// What the user can do.
    pub remedy: String,
    /// Why KVM is unavailable, if the reason is known.
    pub reason: Option<String>,
    /// The errno of the system call.
    pub errno: Option<i32>,
    /// The kernel's name of the ioctl.
    pub ioctl: Option<String>,
    /// The kernel's name of the capability.
    pub capability: Option<String>,
    /// The accelerator property.
    pub property: Option<String>,
    /// `kernel`, `initrd` or `firmware`.
    pub image: Option<String>,
    /// The problem with the image, the breakpoint or the vsock connection, as a stable name.
    pub problem: Option<String>,
    /// The guest address that has no RAM. In JSON it is decimal text, because JavaScript's numbers are exact up to 2^53 only.
    #[serde(with = "decimal")]
    pub address: Option<u64>,
    /// The machine option.
    pub option: Option<String>,
    /// Registers and code bytes of a vCPU whose reset failed.
    pub report: Option<String>,
    /// With `ERR_MACHINE_STATE`: the run state of the machine.
    pub state: Option<RunState>,
    /// With `ERR_MACHINE_STATE`: the run states that allow the operation.
    pub allowed: Vec<RunState>,
}

/// Serialises a 64-bit number as decimal text.
mod decimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(|number| number.to_string()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

impl Failure {
    pub(crate) fn state(message: String, remedy: &str, state: RunState, allowed: &[RunState]) -> Self {
        FailureDetails {
            code: "ERR_MACHINE_STATE".into(),
            message,
            remedy: remedy.into(),
            state: Some(state),
            allowed: allowed.to_vec(),
            ..FailureDetails::default()
        }
        .into()
    }

    /// Returns the error of a bug in this package.
    pub(crate) fn internal(what: &str, message: &str) -> Self {
        FailureDetails {
            code: "ERR_INTERNAL".into(),
            message: format!("{what} failed inside kvm-accel: {message}"),
            remedy: "Report this message: it is a fault of kvm-accel.".into(),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl From<kvm_accel::Error> for Failure {
    fn from(error: kvm_accel::Error) -> Self {
        FailureDetails {
            code: error.code().into(),
            message: error.to_string(),
            remedy: error.remedy().into(),
            errno: error.errno(),
            ioctl: error.ioctl().map(Into::into),
            capability: error.capability().map(|capability| capability.name().into()),
            property: match &error {
                kvm_accel::Error::Property { property, .. } => Some((*property).into()),
                _ => None,
            },
            reason: match &error {
                kvm_accel::Error::Kvm(KvmError::ApiVersion { .. }) => Some("api-version".into()),
                kvm_accel::Error::Kvm(KvmError::NotKvm { .. }) => Some("no-device".into()),
                _ => None,
            },
            problem: match &error {
                kvm_accel::Error::Breakpoint { problem, .. } => Some(problem.as_str().into()),
                _ => None,
            },
            address: match &error {
                kvm_accel::Error::GuestMemory { address } => Some(*address),
                _ => None,
            },
            report: error.report().map(Into::into),
            option: error.option().map(Into::into),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl From<MachineConfigError> for Failure {
    fn from(error: MachineConfigError) -> Self {
        FailureDetails {
            code: error.code().into(),
            message: error.to_string(),
            remedy: error.remedy().into(),
            option: Some(error.option().into()),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl From<Cancelled> for Failure {
    fn from(cancelled: Cancelled) -> Self {
        FailureDetails {
            code: "ERR_MACHINE_STATE".into(),
            message: cancelled.to_string(),
            remedy: "Create a new machine with Machine.create().".into(),
            state: Some(RunState::Shutdown),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl From<Unquiet> for Failure {
    fn from(unquiet: Unquiet) -> Self {
        FailureDetails {
            code: "ERR_DEVICE_BUSY".into(),
            message: unquiet.to_string(),
            remedy: "Look for a disk or a file system of the host that does not answer.".into(),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl From<BoardError> for Failure {
    fn from(error: BoardError) -> Self {
        match error {
            BoardError::Accel(error) => error.into(),
            BoardError::Config(error) => error.into(),
            BoardError::Cancelled(cancelled) => cancelled.into(),
            BoardError::Unquiet(unquiet) => unquiet.into(),
            BoardError::Image(error) => FailureDetails {
                code: error.code().into(),
                message: error.to_string(),
                remedy: error.remedy().into(),
                image: Some(error.image().as_str().into()),
                problem: Some(error.problem().as_str().into()),
                ..FailureDetails::default()
            }
            .into(),
        }
    }
}
