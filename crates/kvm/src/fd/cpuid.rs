//! CPUID leaves as values, and conversions from and to the kernel's structures.

use crate::Result;
use crate::error::failed;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// One leaf, or one subleaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// EAX of the query.
    pub function: u32,
    /// ECX of the query.
    pub index: u32,
    /// The leaf's result depends on ECX.
    pub indexed: bool,
    /// The result in EAX.
    pub eax: u32,
    /// The result in EBX.
    pub ebx: u32,
    /// The result in ECX.
    pub ecx: u32,
    /// The result in EDX.
    pub edx: u32,
}

/// Converts the kernel's leaves.
pub fn leaves(cpuid: &CpuId) -> Vec<Leaf> {
    cpuid
        .as_slice()
        .iter()
        .map(|entry| Leaf {
            function: entry.function,
            index: entry.index,
            indexed: entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0,
            eax: entry.eax,
            ebx: entry.ebx,
            ecx: entry.ecx,
            edx: entry.edx,
        })
        .collect()
}

/// Converts leaves for KVM_SET_CPUID2.
pub fn entries(leaves: &[Leaf]) -> Result<CpuId> {
    let entries: Vec<_> = leaves
        .iter()
        .map(|leaf| kvm_cpuid_entry2 {
            function: leaf.function,
            index: leaf.index,
            flags: if leaf.indexed { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 },
            eax: leaf.eax,
            ebx: leaf.ebx,
            ecx: leaf.ecx,
            edx: leaf.edx,
            ..Default::default()
        })
        .collect();
    CpuId::from_entries(&entries)
        .map_err(|_| failed("KVM_SET_CPUID2", "too many leaves")(vmm_sys_util::errno::Error::new(libc::E2BIG)))
}
