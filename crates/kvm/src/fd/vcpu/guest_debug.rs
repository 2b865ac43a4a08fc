//! KVM_SET_GUEST_DEBUG.

use super::Vcpu;
use crate::Result;
use kvm_bindings::{kvm_guest_debug, kvm_guest_debug_arch};

/// The control word and the debug registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugWords {
    /// KVM_GUESTDBG_*.
    pub control: u32,
    /// DR0 to DR7.
    pub registers: [u64; 8],
}

impl Vcpu {
    /// Calls KVM_SET_GUEST_DEBUG.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn set_guest_debug(&self, words: &DebugWords) -> Result<()> {
        let arch = kvm_guest_debug_arch { debugreg: words.registers };
        let debug = kvm_guest_debug { control: words.control, pad: 0, arch };
        self.fd.set_guest_debug(&debug).map_err(self.failed("KVM_SET_GUEST_DEBUG"))
    }
}
