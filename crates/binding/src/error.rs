//! Errors cross as data and are thrown in TypeScript, in one place.

use kvm_accel_vmm::{Failure, FailureDetails};
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
    /// The run state that forbids the operation.
    pub state: Option<String>,
    /// The run states that allow it.
    pub allowed: Option<Vec<String>>,
}

impl From<Failure> for BindingError {
    fn from(failure: Failure) -> Self {
        let FailureDetails {
            code,
            message,
            remedy,
            reason,
            errno,
            ioctl,
            capability,
            property,
            image,
            problem,
            address,
            option,
            report,
            state,
            allowed,
        } = failure.into_details();
        Self {
            code,
            message,
            remedy,
            reason,
            errno,
            ioctl,
            capability,
            property,
            image,
            problem,
            address: address.map(BigInt::from),
            option,
            report,
            allowed: state.map(|_| allowed.iter().map(|state| state.as_str().to_owned()).collect()),
            state: state.map(|state| state.as_str().to_owned()),
        }
    }
}

impl From<kvm_accel::Error> for BindingError {
    fn from(error: kvm_accel::Error) -> Self {
        Failure::from(error).into()
    }
}
