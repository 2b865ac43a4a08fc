//! CPUID leaves as values, conversions from and to the kernel's structures, and the CPUID instruction.

use crate::Result;
use crate::error::failed;
use core::arch::x86_64::{__cpuid_count, CpuidResult};
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

/// Executes the CPUID instruction for the leaves that describe the CPU and offer no feature: MWAIT, the caches, the TLBs
/// and the brand string. KVM_GET_SUPPORTED_CPUID may leave them zero.
pub fn instruction_leaves() -> Vec<Leaf> {
    /// The leaves with a cache for each subleaf, which the first subleaf without a cache ends. CPUs have 4 or 5 caches.
    const CACHES: [u32; 2] = [4, 0x8000_001d];
    const MAX_CACHES: u32 = 8;
    let query = |function, index, indexed| {
        let CpuidResult { eax, ebx, ecx, edx } = __cpuid_count(function, index);
        Leaf { function, index, indexed, eax, ebx, ecx, edx }
    };
    let exists = |function: &u32| *function <= query(function & 0x8000_0000, 0, false).eax;
    let single =
        [2, 5].into_iter().chain(0x8000_0002..=0x8000_0006).filter(exists).map(|function| query(function, 0, false));
    let caches = CACHES.into_iter().filter(exists).flat_map(|function| {
        (0..MAX_CACHES).map(move |index| query(function, index, true)).take_while(|leaf| leaf.eax & 0x1f != 0)
    });
    single.chain(caches).collect()
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
