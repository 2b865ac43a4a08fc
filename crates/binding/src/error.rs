//! Converts errors to data. TypeScript creates the error object and throws it.

use kvm_accel_vmm::Failure;
use napi_derive::napi;

/// An error: the fields of a `Failure` (crates/vmm) as JSON. `code` selects the error class.
#[napi]
pub type BindingError = String;

/// Converts a failure.
pub fn json(error: impl Into<Failure>) -> BindingError {
    error.into().to_json()
}
