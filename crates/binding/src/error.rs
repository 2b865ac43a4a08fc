//! Errors cross as data and are thrown in TypeScript, in one place.

use kvm_accel_machine::board::BoardError;
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// An error as plain data; `code` selects the class.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct BindingError {
    /// Stable code.
    pub code: String,
    /// What was wrong, and the rule.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Why KVM cannot be used, where that is certain.
    pub reason: Option<String>,
    /// The system's error number.
    pub errno: Option<i32>,
    /// The ioctl, by the kernel's name.
    pub ioctl: Option<String>,
    /// The capability, by the kernel's name.
    pub capability: Option<String>,
    /// The accelerator property.
    pub property: Option<String>,
    /// `kernel` or `initrd`.
    pub image: Option<String>,
    /// What is wrong with the image or the breakpoint.
    pub problem: Option<String>,
    /// The guest's address that cannot be reached.
    pub address: Option<BigInt>,
    /// The machine option.
    pub option: Option<String>,
    /// Registers and code bytes of a vCPU that cannot be reset.
    pub report: Option<String>,
}

impl From<kvm_accel::Error> for BindingError {
    fn from(error: kvm_accel::Error) -> Self {
        Self {
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
                kvm_accel::Error::ApiVersion { .. } => Some("api-version".into()),
                kvm_accel::Error::NotKvm { .. } => Some("no-device".into()),
                _ => None,
            },
            problem: match &error {
                kvm_accel::Error::Breakpoint { problem, .. } => Some(problem.as_str().into()),
                _ => None,
            },
            address: match &error {
                kvm_accel::Error::GuestMemory { address } => Some((*address).into()),
                _ => None,
            },
            report: error.report().map(Into::into),
            option: error.option().map(Into::into),
            ..Self::default()
        }
    }
}

impl From<BoardError> for BindingError {
    fn from(error: BoardError) -> Self {
        match error {
            BoardError::Accel(error) => error.into(),
            BoardError::Config(error) => Self {
                code: error.code().into(),
                message: error.to_string(),
                remedy: error.remedy().into(),
                option: Some(error.option().into()),
                ..Self::default()
            },
            BoardError::Image(error) => Self {
                code: error.code().into(),
                message: error.to_string(),
                remedy: error.remedy().into(),
                image: Some(error.image().as_str().into()),
                problem: Some(error.problem().as_str().into()),
                ..Self::default()
            },
            BoardError::Unquiet(error) => Self { code: "ERR_DEVICE_BUSY".into(), message: error.to_string(), ..Self::default() },
        }
    }
}
