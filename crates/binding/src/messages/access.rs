//! Accesses of the guest that wait for an answer of JavaScript's.

use kvm_accel_machine::devices::{Access, MsrAccess};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// One access, as in a `device-access` event.
#[napi(object, object_from_js = false)]
pub struct BindingDeviceAccess {
    /// Names it in the answer.
    pub id: u32,
    /// A store or an `out`.
    pub write: bool,
    /// From the device's first port or address.
    pub offset: f64,
    /// Bytes.
    pub size: u32,
    /// What is written.
    pub value: BigInt,
}

impl From<Access> for BindingDeviceAccess {
    fn from(Access { id, write, offset, size, value }: Access) -> Self {
        // A claim is at most 2^53 long: `BindingCommand::parse` refuses others.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let offset = offset as f64;
        Self { id, write, offset, size: u32::try_from(size).unwrap_or(0), value: value.into() }
    }
}

/// One access of the guest, which waits for `answerMsr`.
#[napi(object, object_from_js = false)]
pub struct BindingMsrAccess {
    /// Names it in the answer.
    pub id: u32,
    /// The rule that asks, by its place.
    pub rule: u32,
    /// Who waits.
    pub vcpu: u32,
    /// The MSR.
    pub index: u32,
    /// What is written; absent for a read.
    pub write: Option<BigInt>,
}

impl From<MsrAccess> for BindingMsrAccess {
    fn from(MsrAccess { id, rule, vcpu, index, write }: MsrAccess) -> Self {
        Self { id, rule, vcpu, index, write: write.map(BigInt::from) }
    }
}
