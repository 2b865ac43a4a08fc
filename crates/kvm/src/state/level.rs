//! The parts of the register state that are written, and their order.

/// How much of the register state is written: QEMU's three levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Before a vCPU that has already run continues: the state that its own instructions change.
    Runtime,
    /// At a reset: also clocks, the local APIC and state that the kernel keeps for the guest.
    Reset,
    /// Into a vCPU that has never run: also one-time settings.
    Full,
}

/// One call that writes state, or one group of MSRs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The MSR IA32_FEATURE_CONTROL alone: leaves VMX operation first.
    FeatureControl,
    /// KVM_SET_SREGS2 or KVM_SET_SREGS; before nested state, which needs EFER.SVME.
    SpecialRegisters,
    /// KVM_SET_NESTED_STATE.
    Nested,
    /// KVM_SET_TSC_KHZ. It fails on a kernel that cannot scale the TSC; that failure is ignored.
    TscKhz,
    /// KVM_SET_REGS.
    Registers,
    /// KVM_SET_XSAVE.
    Xsave,
    /// KVM_SET_XCRS.
    Xcrs,
    /// KVM_SET_MSRS.
    Msrs,
    /// KVM_SET_VCPU_EVENTS: after the registers, whose writes clear pending events.
    Events,
    /// KVM_SET_MP_STATE.
    MpState,
    /// KVM_SET_LAPIC: after the special registers, which hold its base.
    Lapic,
    /// The MSR IA32_TSC_DEADLINE alone, once the timer's mode is known.
    TscDeadline,
    /// KVM_SET_DEBUGREGS.
    DebugRegisters,
}

/// The steps in order, each with the lowest level that includes it.
const PUT: [(Step, Level); 13] = [
    (Step::FeatureControl, Level::Reset),
    (Step::SpecialRegisters, Level::Runtime),
    (Step::Nested, Level::Reset),
    (Step::TscKhz, Level::Full),
    (Step::Registers, Level::Runtime),
    (Step::Xsave, Level::Runtime),
    (Step::Xcrs, Level::Runtime),
    (Step::Msrs, Level::Runtime),
    (Step::Events, Level::Runtime),
    (Step::MpState, Level::Reset),
    (Step::Lapic, Level::Reset),
    (Step::TscDeadline, Level::Runtime),
    (Step::DebugRegisters, Level::Runtime),
];

impl Level {
    /// Returns the steps that this level includes, in order.
    pub fn steps(self) -> impl Iterator<Item = Step> {
        PUT.into_iter().filter(move |&(_, lowest)| self >= lowest).map(|(step, _)| step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_steps_of_each_level() {
        let runtime = [
            Step::SpecialRegisters,
            Step::Registers,
            Step::Xsave,
            Step::Xcrs,
            Step::Msrs,
            Step::Events,
            Step::TscDeadline,
            Step::DebugRegisters,
        ];
        assert_eq!(Level::Runtime.steps().collect::<Vec<_>>(), runtime);
        let reset: Vec<_> = Level::Reset.steps().collect();
        assert_eq!(reset.len(), 12);
        assert_eq!(reset[..3], [Step::FeatureControl, Step::SpecialRegisters, Step::Nested]);
        assert!(!reset.contains(&Step::TscKhz));
        assert_eq!(Level::Full.steps().collect::<Vec<_>>(), PUT.map(|(step, _)| step));
    }

    #[test]
    fn test_order_that_the_kernel_depends_on() {
        let at = |step| Level::Full.steps().position(|other| other == step).unwrap();
        assert!(at(Step::SpecialRegisters) < at(Step::Nested));
        assert!(at(Step::Registers) < at(Step::Events));
        assert!(at(Step::SpecialRegisters) < at(Step::Lapic));
        assert!(at(Step::Lapic) < at(Step::TscDeadline));
    }
}
