//! `kvm_vcpu_events` to and from [`Events`].

use super::StateFeatures;
use crate::state::{Events, Exception, Interrupt, Level, MpState, Nmi, Smi};
use kvm_bindings::{
    KVM_VCPUEVENT_VALID_NMI_PENDING, KVM_VCPUEVENT_VALID_PAYLOAD, KVM_VCPUEVENT_VALID_SHADOW,
    KVM_VCPUEVENT_VALID_SIPI_VECTOR, KVM_VCPUEVENT_VALID_SMM, KVM_VCPUEVENT_VALID_TRIPLE_FAULT, kvm_vcpu_events,
};

/// Converts from the kernel. A field is valid only if its validity bit is set.
pub(super) fn from_kernel(events: &kvm_vcpu_events) -> Events {
    let valid = |flag| events.flags & flag != 0;
    let raised = &events.exception;
    let exception = (raised.injected != 0 || raised.pending != 0).then(|| Exception {
        vector: raised.nr,
        injected: raised.injected != 0,
        error_code: (raised.has_error_code != 0).then_some(raised.error_code),
        payload: (valid(KVM_VCPUEVENT_VALID_PAYLOAD) && events.exception_has_payload != 0)
            .then_some(events.exception_payload),
    });
    let smm = valid(KVM_VCPUEVENT_VALID_SMM);
    Events {
        exception,
        interrupt: (events.interrupt.injected != 0)
            .then_some(Interrupt { vector: events.interrupt.nr, soft: events.interrupt.soft != 0 }),
        interrupt_shadow: if valid(KVM_VCPUEVENT_VALID_SHADOW) { events.interrupt.shadow } else { 0 },
        nmi: Nmi { injected: events.nmi.injected != 0, pending: events.nmi.pending, masked: events.nmi.masked != 0 },
        sipi_vector: events.sipi_vector,
        smi: Smi {
            smm: smm && events.smi.smm != 0,
            pending: smm && events.smi.pending != 0,
            smm_inside_nmi: smm && events.smi.smm_inside_nmi != 0,
            latched_init: smm && events.smi.latched_init != 0,
        },
        triple_fault: valid(KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && events.triple_fault.pending != 0,
    }
}

/// Converts to the kernel, with the validity bits of a level. State that may have arrived since the read, a pending NMI
/// and a SIPI, is written from RESET on.
pub(super) fn to_kernel(events: &Events, level: Level, mp_state: MpState, features: &StateFeatures) -> kvm_vcpu_events {
    let mut out = kvm_vcpu_events { flags: KVM_VCPUEVENT_VALID_SHADOW, ..Default::default() };
    if let Some(exception) = events.exception {
        out.exception.nr = exception.vector;
        out.exception.injected = exception.injected.into();
        out.exception.pending = (!exception.injected).into();
        out.exception.has_error_code = exception.error_code.is_some().into();
        out.exception.error_code = exception.error_code.unwrap_or(0);
        out.exception_has_payload = exception.payload.is_some().into();
        out.exception_payload = exception.payload.unwrap_or(0);
    }
    if let Some(interrupt) = events.interrupt {
        (out.interrupt.injected, out.interrupt.nr, out.interrupt.soft) = (1, interrupt.vector, interrupt.soft.into());
    }
    out.interrupt.shadow = events.interrupt_shadow;
    out.nmi.injected = events.nmi.injected.into();
    out.nmi.pending = events.nmi.pending;
    out.nmi.masked = events.nmi.masked.into();
    out.sipi_vector = events.sipi_vector;
    if features.exception_payload {
        out.flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
    }
    if features.smm {
        out.flags |= KVM_VCPUEVENT_VALID_SMM;
        out.smi.smm = events.smi.smm.into();
        out.smi.pending = events.smi.pending.into();
        out.smi.smm_inside_nmi = events.smi.smm_inside_nmi.into();
        out.smi.latched_init = events.smi.latched_init.into();
    }
    if features.triple_fault {
        out.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
        out.triple_fault.pending = events.triple_fault.into();
    }
    if level >= Level::Reset {
        out.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
        if mp_state == MpState::SipiReceived {
            out.flags |= KVM_VCPUEVENT_VALID_SIPI_VECTOR;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: StateFeatures = StateFeatures {
        sregs2: true,
        xsave_size: 4096,
        xcrs: true,
        exception_payload: true,
        triple_fault: true,
        smm: true,
        nested: true,
        tsc_khz: true,
        kvmclock_ctrl: true,
        lapic: true,
        msrs: &[],
    };

    fn exceptions() -> impl Strategy<Value = Exception> {
        (0u8..32, any::<bool>(), any::<Option<u32>>(), any::<Option<u64>>())
            .prop_map(|(vector, injected, error_code, payload)| Exception { vector, injected, error_code, payload })
    }

    prop_compose! {
        fn all_events()(
            exception in proptest::option::of(exceptions()),
            interrupt in proptest::option::of((any::<u8>(), any::<bool>())),
            (interrupt_shadow, pending, sipi_vector) in (0u8..4, any::<u8>(), any::<u32>()),
            bits in any::<[bool; 7]>(),
        ) -> Events {
            let [injected, masked, smm, smi, smm_inside_nmi, latched_init, triple_fault] = bits;
            Events {
                exception,
                interrupt: interrupt.map(|(vector, soft)| Interrupt { vector, soft }),
                interrupt_shadow,
                nmi: Nmi { injected, pending, masked },
                sipi_vector,
                smi: Smi { smm, pending: smi, smm_inside_nmi, latched_init },
                triple_fault,
            }
        }
    }

    proptest! {
        #[test]
        fn test_events_round_trip(events in all_events(), level in 0..3) {
            let level = [Level::Runtime, Level::Reset, Level::Full][usize::try_from(level).unwrap()];
            prop_assert_eq!(from_kernel(&to_kernel(&events, level, MpState::Runnable, &ALL)), events);
        }

        /// A bit that was not enabled, or a flag that the level lacks, would make the kernel fail or drop state.
        #[test]
        fn test_validity_bits_follow_features_and_level(
            events in all_events(), payload: bool, triple_fault: bool, smm: bool, reset: bool, sipi: bool,
        ) {
            let features = StateFeatures { exception_payload: payload, triple_fault, smm, ..ALL };
            let level = if reset { Level::Reset } else { Level::Runtime };
            let mp_state = if sipi { MpState::SipiReceived } else { MpState::Halted };
            let flags = to_kernel(&events, level, mp_state, &features).flags;
            let expected = [(0x01, reset), (0x02, reset && sipi), (0x04, true), (0x08, smm), (0x10, payload), (0x20, triple_fault)]
                .iter().filter(|(_, set)| *set).map(|(flag, _)| flag).sum::<u32>();
            prop_assert_eq!(flags, expected);
        }
    }

    #[test]
    fn test_fields_without_their_validity_bit_do_not_count() {
        let mut raw = kvm_vcpu_events::default();
        raw.exception.pending = 1;
        raw.exception_has_payload = 1;
        (raw.smi.smm, raw.triple_fault.pending, raw.interrupt.shadow) = (1, 1, 2);
        let events = from_kernel(&raw);
        assert_eq!(events.exception, Some(Exception::default()));
        assert_eq!((events.smi, events.triple_fault, events.interrupt_shadow), (Smi::default(), false, 0));
    }
}
