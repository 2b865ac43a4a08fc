//! Delivers an NMI from outside through the line LINT1 of every local APIC, as on a PC.

use kvm_accel_kvm::fd::Vcpu;

/// LVT entry of LINT1, in the register page of a local APIC.
const LVT_LINT1: usize = 0x360;
const MASKED: u32 = 1 << 16;
const DELIVERY_MODE: u32 = 7 << 8;
const NMI: u32 = 4 << 8;

/// Delivers an NMI to a vCPU. Called by the vCPU's thread, outside the guest. Without a local APIC in the kernel, the
/// line is connected to the processor directly.
pub fn deliver(vcpu: &Vcpu) {
    if vcpu.local_apic().is_none_or(|apic| takes_nmi(&apic)) {
        // Fails only if the kernel lacks KVM_NMI. The guest then receives no NMI.
        let _ = vcpu.nmi();
    }
}

/// Returns whether LINT1 is unmasked and delivers NMIs.
fn takes_nmi(apic: &[u8; 0x400]) -> bool {
    let [a, b, c, d] = [0, 1, 2, 3].map(|byte| apic[LVT_LINT1 + byte]);
    u32::from_le_bytes([a, b, c, d]) & (MASKED | DELIVERY_MODE) == NMI
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_lint1_lets_nmis_through_unmasked_and_in_nmi_mode_only() {
        let takes = |lvt: u32| {
            let mut apic = [0xff; 0x400];
            apic[LVT_LINT1..LVT_LINT1 + 4].copy_from_slice(&lvt.to_le_bytes());
            takes_nmi(&apic)
        };
        assert!(takes(NMI) && takes(NMI | 0xff) && takes(NMI | 1 << 12));
        assert!(!takes(NMI | MASKED) && !takes(0) && !takes(DELIVERY_MODE) && !takes(MASKED));
    }
}
