//! A virtual machine.

use super::device::BindingKvmDevice;
use super::vcpu::BindingKvmVcpu;
use super::view::{JsBytes, JsWords};
use super::{Closable, bits};
use kvm_accel_kvm_objects::{MsrRange, Vm};
use napi::bindgen_prelude::{BigUint64Array, Either};
use napi_derive::napi;

/// A VM.
#[napi]
pub struct BindingKvmVm(Closable<Vm>);

/// One range of the MSR filter.
#[napi(object, object_to_js = false)]
pub struct BindingMsrRange {
    /// KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE.
    pub flags: u32,
    /// The first MSR.
    pub base: u32,
    /// The number of MSRs.
    pub count: u32,
    /// One bit for each MSR. A set bit allows the access.
    #[napi(ts_type = "BigUint64Array")]
    pub bitmap: JsWords,
}

impl BindingKvmVm {
    pub(super) const fn new(vm: Vm) -> Self {
        Self(Closable::new(vm))
    }
}

#[napi]
impl BindingKvmVm {
    /// Calls an ioctl whose argument is a number.
    #[napi]
    pub fn with_value(&self, request: u32, value: i64) -> i32 {
        self.0.call(|vm| vm.with_value(request, bits(value)))
    }

    /// Calls an ioctl whose argument is a structure.
    #[napi]
    pub fn with_bytes(&self, request: u32, #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>) -> i32 {
        self.0.call(|vm| vm.with_bytes(request, bytes.0))
    }

    /// KVM_CREATE_VCPU.
    #[napi]
    pub fn create_vcpu(&self, id: u32) -> Either<BindingKvmVcpu, i32> {
        self.0.make(|vm| vm.create_vcpu(id).map(BindingKvmVcpu::new))
    }

    /// KVM_CREATE_DEVICE.
    #[napi]
    pub fn create_device(&self, kind: u32) -> Either<BindingKvmDevice, i32> {
        self.0.make(|vm| vm.create_device(kind).map(BindingKvmDevice::new))
    }

    /// KVM_CREATE_DEVICE with KVM_CREATE_DEVICE_TEST.
    #[napi]
    pub fn test_device(&self, kind: u32) -> i32 {
        self.0.call(|vm| vm.test_device(kind).map(|()| 0))
    }

    /// KVM_SET_USER_MEMORY_REGION. An empty array deletes the slot.
    #[napi]
    pub fn set_user_memory_region(
        &self,
        slot: u32,
        flags: u32,
        guest_phys_addr: i64,
        #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>,
    ) -> i32 {
        self.0.call(|vm| vm.set_user_memory_region(slot, flags, bits(guest_phys_addr), bytes.0).map(|()| 0))
    }

    /// KVM_GET_DIRTY_LOG.
    #[napi]
    pub fn get_dirty_log(&self, slot: u32) -> Either<BigUint64Array, i32> {
        self.0.make(|vm| vm.dirty_log(slot).map(BigUint64Array::new))
    }

    /// KVM_CLEAR_DIRTY_LOG.
    #[napi]
    pub fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: i64,
        num_pages: u32,
        #[napi(ts_arg_type = "BigUint64Array")] bitmap: JsWords,
    ) -> i32 {
        self.0.call(|vm| vm.clear_dirty_log(slot, bits(first_page), num_pages, &bitmap.0).map(|()| 0))
    }

    /// KVM_X86_SET_MSR_FILTER.
    #[napi]
    pub fn set_msr_filter(&self, flags: u32, ranges: Vec<BindingMsrRange>) -> i32 {
        let ranges = ranges.into_iter().map(|BindingMsrRange { flags, base, count, bitmap }| MsrRange {
            flags,
            base,
            count,
            bitmap: bitmap.0,
        });
        self.0.call(|vm| vm.set_msr_filter(flags, &ranges.collect::<Vec<_>>()).map(|()| 0))
    }

    /// Closes the VM's fd. Its vCPUs and devices stay open.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}
