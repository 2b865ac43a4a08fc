//! KVM_GET_CLOCK and KVM_SET_CLOCK. The thread of the last vCPU that stops reads the VM's clock; any vCPU can be the
//! last.

use crate::Result;
use crate::error::failed;
use kvm_bindings::kvm_clock_data;
use kvm_ioctls::VmFd;
use std::sync::Arc;

/// A VM's clock.
#[derive(Debug)]
pub struct VmClock(Arc<VmFd>);

impl VmClock {
    pub(super) const fn new(vm: Arc<VmFd>) -> Self {
        Self(vm)
    }

    /// Returns the clock in nanoseconds.
    pub fn get(&self) -> Result<u64> {
        self.0.get_clock().map(|data| data.clock).map_err(failed("KVM_GET_CLOCK", ""))
    }

    /// Sets the clock without flags: it continues from `nanoseconds`, regardless of the time since the read.
    pub fn set(&self, nanoseconds: u64) -> Result<()> {
        let data = kvm_clock_data { clock: nanoseconds, ..Default::default() };
        self.0.set_clock(&data).map_err(failed("KVM_SET_CLOCK", ""))
    }
}
