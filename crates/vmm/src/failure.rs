//! Errors as data.

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
        // Strings, numbers and names of states cannot fail to serialise.
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
    /// What failed, the value, and the rule.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Why KVM is unavailable, where that is certain.
    pub reason: Option<String>,
    /// The system's error number.
    pub errno: Option<i32>,
    /// The ioctl, by the kernel's name.
    pub ioctl: Option<String>,
    /// The capability, by the kernel's name.
    pub capability: Option<String>,
    /// The accelerator property.
    pub property: Option<String>,
    /// `kernel`, `initrd` or `firmware`.
    pub image: Option<String>,
    /// What is wrong with the image, the breakpoint or the vsock connection.
    pub problem: Option<String>,
    /// The guest address that has no RAM. In JSON it is decimal text, because JavaScript's numbers are exact up to 2^53 only.
    #[serde(with = "decimal")]
    pub address: Option<u64>,
    /// The machine option.
    pub option: Option<String>,
    /// Registers and code bytes of a vCPU that cannot be reset.
    pub report: Option<String>,
    /// With `ERR_MACHINE_STATE`: the run state of the machine.
    pub state: Option<RunState>,
    /// With `ERR_MACHINE_STATE`: the run states that allow the operation.
    pub allowed: Vec<RunState>,
}

/// A number of 64 bits as decimal text.
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

    /// A fault of this package.
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
