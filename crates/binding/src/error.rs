//! Errors cross as data and are thrown in TypeScript, in one place.

use kvm_accel_vmm::Failure;
use napi_derive::napi;

/// An error: the fields of a `Failure` (crates/vmm) as JSON. `code` selects the class.
#[napi]
pub type BindingError = String;

/// The error that crosses.
pub fn json(error: impl Into<Failure>) -> BindingError {
    error.into().to_json()
}
