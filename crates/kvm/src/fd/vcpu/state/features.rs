//! Which parts of a register file this kernel and this machine have.

/// Asked once for each machine, before its vCPUs exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateFeatures {
    /// KVM_GET_SREGS2, with PDPTRs.
    pub sregs2: bool,
    /// Bytes of the XSAVE area; above 4096 it takes KVM_GET_XSAVE2.
    pub xsave_size: usize,
    /// KVM_GET_XCRS.
    pub xcrs: bool,
    /// Exceptions keep their payload apart.
    pub exception_payload: bool,
    /// A pending triple fault travels with the events.
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
    /// The length of the XSAVE area before KVM_CAP_XSAVE2, and the least since.
    pub const XSAVE_SIZE: usize = 4096;

    /// The XSAVE area needs the newer call.
    pub const fn xsave2(&self) -> bool {
        self.xsave_size > Self::XSAVE_SIZE
    }
}
