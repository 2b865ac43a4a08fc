//! The KVM device.

use super::view::JsBytes;
use super::vm::BindingKvmVm;
use super::{Closable, bits};
use crate::error::{self, BindingError};
use kvm_accel_kvm_objects::Kvm;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::path::Path;

/// An open KVM device.
#[napi]
pub struct BindingKvm(Closable<Kvm>);

/// Opens the KVM device.
#[napi]
pub fn open_kvm(device: String) -> Either<BindingKvm, BindingError> {
    match Kvm::open(Path::new(&device)) {
        Ok(kvm) => Either::A(BindingKvm(Closable::new(kvm))),
        Err(why) => Either::B(error::json(kvm_accel::Error::from(why))),
    }
}

#[napi]
impl BindingKvm {
    /// Calls an ioctl whose argument is a number.
    #[napi]
    pub fn with_value(&self, request: u32, value: i64) -> i32 {
        self.0.call(|kvm| kvm.with_value(request, bits(value)))
    }

    /// Calls an ioctl whose argument is a structure.
    #[napi]
    pub fn with_bytes(&self, request: u32, #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>) -> i32 {
        self.0.call(|kvm| kvm.with_bytes(request, bytes.0))
    }

    /// KVM_CREATE_VM.
    #[napi]
    pub fn create_vm(&self, kind: u32) -> Either<BindingKvmVm, i32> {
        self.0.make(|kvm| kvm.create_vm(kind).map(BindingKvmVm::new))
    }

    /// Closes the device.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}
