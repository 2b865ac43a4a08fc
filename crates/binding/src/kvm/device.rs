//! A device inside the kernel.

use super::view::JsBytes;
use super::{Closable, bits};
use kvm_accel_kvm_objects::Device;
use napi_derive::napi;

/// A device that KVM_CREATE_DEVICE has created.
#[napi]
pub struct BindingKvmDevice(Closable<Device>);

impl BindingKvmDevice {
    pub(super) const fn new(device: Device) -> Self {
        Self(Closable::new(device))
    }
}

#[napi]
impl BindingKvmDevice {
    /// KVM_HAS_DEVICE_ATTR.
    #[napi]
    pub fn has_attr(&self, group: u32, attr: i64) -> i32 {
        self.0.call(|device| device.has_attr(group, bits(attr)).map(|()| 0))
    }

    /// KVM_GET_DEVICE_ATTR.
    #[napi]
    pub fn get_attr(&self, group: u32, attr: i64, #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>) -> i32 {
        self.0.call(|device| device.get_attr(group, bits(attr), bytes.0).map(|()| 0))
    }

    /// KVM_SET_DEVICE_ATTR.
    #[napi]
    pub fn set_attr(&self, group: u32, attr: i64, #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>) -> i32 {
        self.0.call(|device| device.set_attr(group, bits(attr), bytes.0).map(|()| 0))
    }

    /// Closes the device.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}
