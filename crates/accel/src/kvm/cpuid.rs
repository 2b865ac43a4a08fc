//! What CPUID tells the guest: what KVM supports, with this machine's topology.

use super::system::System;
use crate::{Capability, Result};
use kvm_bindings::CpuId;

/// KVM's paravirtual features that make hypercalls: unhalt (7), TLB flush (9), IPI (11), yield (13). A guest that is
/// offered them uses them, and a host whose hypercalls do not return (there are such) would hang it.
const HYPERCALL_FEATURES: u32 = 1 << 7 | 1 << 9 | 1 << 11 | 1 << 13;

const LEAF1_ECX_TSC_DEADLINE: u32 = 1 << 24;
const LEAF1_ECX_HYPERVISOR: u32 = 1 << 31;

/// The CPUID table of one machine, to be given its APIC ids by [`Table::of_vcpu`].
pub struct Table {
    supported: &'static CpuId,
    tsc_deadline: bool,
    cpus: u32,
}

impl Table {
    /// For a machine of `cpus` vCPUs.
    pub fn new(system: &System, cpus: u32) -> Result<Self> {
        let tsc_deadline = system.check(Capability::TscDeadlineTimer) != 0;
        Ok(Self { supported: system.supported_cpuid()?, tsc_deadline, cpus })
    }

    /// The table of the vCPU with this APIC id: one package, one core a vCPU, one thread a core.
    pub fn of_vcpu(&self, apic_id: u32) -> CpuId {
        let mut cpuid = self.supported.clone();
        let last = self.cpus - 1;
        let core_bits = u32::BITS - last.leading_zeros();
        for entry in cpuid.as_mut_slice() {
            match entry.function {
                1 => {
                    entry.ebx = entry.ebx & 0xffff | self.cpus.min(255) << 16 | apic_id << 24;
                    entry.ecx |= LEAF1_ECX_HYPERVISOR;
                    if self.tsc_deadline {
                        entry.ecx |= LEAF1_ECX_TSC_DEADLINE;
                    }
                }
                // Deterministic cache parameters: cores per package, threads per cache.
                4 if entry.eax & 0x1f != 0 => entry.eax = entry.eax & 0x3fff | last.min(63) << 26,
                // Extended topology: level 0 is threads, level 1 cores, then the end.
                0xb | 0x1f => {
                    (entry.eax, entry.ebx, entry.ecx) = match entry.index {
                        0 => (0, 1, 1 << 8),
                        1 => (core_bits, self.cpus, 2 << 8 | 1),
                        level => (0, 0, level),
                    };
                    entry.edx = apic_id;
                }
                0x4000_0001 => entry.eax &= !HYPERCALL_FEATURES,
                0x8000_0008 => entry.ecx = entry.ecx & !0xf0ff | core_bits << 12 | last.min(255),
                0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (apic_id, apic_id & 0xff, 0),
                _ => {}
            }
        }
        cpuid
    }
}
