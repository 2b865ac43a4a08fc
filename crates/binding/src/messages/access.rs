//! Accesses of the guest that wait for an answer from JavaScript.

use kvm_accel_machine::devices::{Access, MsrAccess};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;

/// One access, as in a `device-access` event.
#[napi(object, object_from_js = false)]
pub struct BindingDeviceAccess {
    /// The number that the answer repeats.
    pub id: u32,
    /// True for a store or an `out` instruction.
    pub write: bool,
    /// Offset from the device's first port or address.
    pub offset: f64,
    /// Length of the access in bytes.
    pub size: u32,
    /// The value that the guest writes.
    pub value: BigInt,
}

impl From<Access> for BindingDeviceAccess {
    fn from(Access { id, write, offset, size, value }: Access) -> Self {
        // `BindingCommand::parse` accepts no range longer than 2^53 bytes.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let offset = offset as f64;
        Self { id, write, offset, size: u32::try_from(size).unwrap_or(0), value: value.into() }
    }
}

/// One access of the guest to an MSR. Its vCPU waits for `answerMsr`.
#[napi(object, object_from_js = false)]
pub struct BindingMsrAccess {
    /// The number that the answer repeats.
    pub id: u32,
    /// Index of the rule that matched.
    pub rule: u32,
    /// Index of the vCPU that waits.
    pub vcpu: u32,
    /// The number of the MSR.
    pub index: u32,
    /// The value that the guest writes. Absent for a read.
    pub write: Option<BigInt>,
}

impl From<MsrAccess> for BindingMsrAccess {
    fn from(MsrAccess { id, rule, vcpu, index, write }: MsrAccess) -> Self {
        Self { id, rule, vcpu, index, write: write.map(BigInt::from) }
    }
}
