//! The parts of the register state that this kernel and this machine have.

/// The available parts. Queried once for each machine, before its vCPUs exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFeatures {
    /// KVM_GET_SREGS2, with PDPTRs.
    pub sregs2: bool,
    /// Size of the XSAVE area in bytes. Above 4096, KVM_GET_XSAVE2 is required.
    pub xsave_size: usize,
    /// KVM_GET_XCRS.
    pub xcrs: bool,
    /// Exception payloads are reported separately from the register that they change.
    pub exception_payload: bool,
    /// The vCPU events include a pending triple fault.
    pub triple_fault: bool,
    /// System management mode.
    pub smm: bool,
    /// KVM_GET_NESTED_STATE.
    pub nested: bool,
    /// KVM_GET_TSC_KHZ.
    pub tsc_khz: bool,
    /// KVM_KVMCLOCK_CTRL.
    pub kvmclock_ctrl: bool,
    /// The local APIC is in the kernel.
    pub lapic: bool,
    /// The MSRs that the kernel lists.
    pub msrs: &'static [u32],
}

impl StateFeatures {
    /// The size of the XSAVE area before KVM_CAP_XSAVE2, and the minimum since.
    pub const XSAVE_SIZE: usize = 4096;

    /// Returns whether the XSAVE area requires KVM_GET_XSAVE2.
    pub const fn xsave2(&self) -> bool {
        self.xsave_size > Self::XSAVE_SIZE
    }
}
