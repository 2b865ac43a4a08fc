//! Derives the dependent parts of a CPU: features that need others, the state that XSAVE manages, KVM's
//! leaves, and the topology.

use super::super::features::NEEDED_BY;
use super::{CpuProperties, KVM_FEATURES, KVM_SIGNATURE, MAX_LEAVES, Table};
use kvm_accel_kvm::fd::Leaf;

/// Bits of leaf 1 EDX that AMD repeats in leaf 0x80000001 EDX. They are reserved on other CPUs.
const AMD_REPEATED: u32 = 0x0183_f3ff;
const HT: u32 = 1 << 28;
const CMP_LEGACY: u32 = 1 << 1;

/// The components of the processor state that every XSAVE manages: x87 and SSE.
const LEGACY_COMPONENTS: u32 = 3;
/// The size of an XSAVE area with these components and the header.
const LEGACY_AREA: u32 = 576;
/// The components that AVX, MPX, AVX-512, PKU and AMX add to XCR0.
const COMPONENTS: &[(&str, u32)] =
    &[("avx", 1 << 2), ("mpx", 3 << 3), ("avx512f", 7 << 5), ("pku", 1 << 9), ("amx-tile", 3 << 17)];

/// EAX of a cache's leaf: its kind, and all that describes the cache itself.
const CACHE_KIND: u32 = 0x1f;
const CACHE: u32 = 0x3fff;

impl Table {
    /// Removes what the features exclude, and fills in what they determine. `model`: the CPU is not the host's.
    pub(super) fn settle(&mut self, properties: &CpuProperties, model: bool) {
        for (needed, by) in NEEDED_BY {
            if !self.has(needed) {
                by.split_ascii_whitespace().for_each(|name| self.remove(name));
            }
        }
        let (amx, svm) = (self.has("amx-tile"), self.has("svm"));
        let pmu = properties.pmu.unwrap_or(!model);
        self.leaves.retain(|leaf| match leaf.function {
            0xb | 0x1f => false,
            0xa => pmu,
            0x1d | 0x1e => amx,
            0x8000_000a => svm,
            KVM_SIGNATURE..=KVM_FEATURES => properties.kvm,
            _ => true,
        });
        self.settle_xsave(model);
        self.settle_subleaves();
        self.place();
        let repeated = if self.amd { self.leaf(1).map_or(0, |leaf| leaf.edx & AMD_REPEATED) } else { 0 };
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.function == 0x8000_0001) {
            leaf.ebx = 0;
            leaf.edx = leaf.edx & !AMD_REPEATED | repeated;
        }
        // A query for an absent leaf returns zeroes, too.
        self.leaves.retain(|leaf| {
            matches!(leaf.function, 0 | 0x8000_001e)
                || leaf.indexed
                || (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) != (0, 0, 0, 0)
        });
        self.leaves.truncate(MAX_LEAVES);
    }

    /// Computes the components of XCR0 and the size of the XSAVE area from the features.
    fn settle_xsave(&mut self, model: bool) {
        if !self.has("xsave") {
            self.leaves.retain(|leaf| leaf.function != 0xd);
            return;
        }
        let bits = |present: bool| {
            let named = COMPONENTS.iter().filter(|(name, _)| self.has(name) == present);
            named.fold(0, |mask, (_, bits)| mask | bits)
        };
        // A model has no other components, and none that XSAVES alone manages.
        let kept = if model { LEGACY_COMPONENTS | bits(true) } else { !bits(false) };
        let components = self.leaf(0xd).map_or(0, |leaf| leaf.eax & kept);
        self.leaves.retain(|leaf| {
            let supervisor = leaf.ecx & 1 != 0;
            let own = if supervisor { !model } else { leaf.index < 32 && components & 1 << leaf.index != 0 };
            leaf.function != 0xd || leaf.index < 2 || own
        });
        let user = self.leaves.iter().filter(|leaf| leaf.function == 0xd && leaf.index >= 2 && leaf.ecx & 1 == 0);
        let size = user.map(|leaf| leaf.ebx.saturating_add(leaf.eax)).fold(LEGACY_AREA, u32::max);
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.function == 0xd) {
            match leaf.index {
                0 => (leaf.eax, leaf.ecx) = (components, size),
                1 if model => (leaf.ecx, leaf.edx) = (0, 0),
                _ => {}
            }
        }
    }

    /// Sets the last subleaf of leaf 7 to the last one with a feature.
    fn settle_subleaves(&mut self) {
        let used = |leaf: &&Leaf| leaf.function == 7 && (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) != (0, 0, 0, 0);
        let last = self.leaves.iter().filter(used).map(|leaf| leaf.index).max().unwrap_or(0);
        self.leaves.retain(|leaf| leaf.function != 7 || leaf.index <= last);
        self.leaves.iter_mut().filter(|leaf| leaf.function == 7 && leaf.index == 0).for_each(|leaf| leaf.eax = last);
    }

    /// Fills in the topology, except the APIC ids.
    fn place(&mut self) {
        const CORE_IDS: u32 = 0x8000_001e;
        let topology = self.topology;
        let threads = topology.threads_per_package();
        let in_die = topology.cores * topology.threads;
        let (core, die, package) = (topology.core_shift(), topology.die_shift(), topology.package_shift());
        if self.has("topoext") && self.leaf(CORE_IDS).is_none() {
            self.leaves.push(Leaf { function: CORE_IDS, ..Leaf::default() });
        }
        let core_ids = self.leaf(CORE_IDS).map_or(0, |leaf| leaf.function);
        for leaf in &mut self.leaves {
            match leaf.function {
                1 => {
                    let count = if threads > 1 { threads.min(255) } else { 0 };
                    leaf.ebx = leaf.ebx & 0xff00 | count << 16;
                    leaf.edx = if threads > 1 { leaf.edx | HT } else { leaf.edx & !HT };
                }
                // Deterministic cache parameters: threads per cache, and addressable cores per package. A core shares
                // the first two levels, and a die the third. Intel counts ids, of which some may be unused.
                4 if leaf.eax & CACHE_KIND != 0 => {
                    let ids = if third_level(leaf) { die } else { core };
                    let shared = (1 << ids.min(12)) - 1;
                    leaf.eax = leaf.eax & CACHE | shared << 14 | ((1 << (package - core).min(6)) - 1) << 26;
                }
                0x8000_001d if leaf.eax & CACHE_KIND != 0 => {
                    let sharing = if third_level(leaf) { in_die } else { topology.threads };
                    leaf.eax = leaf.eax & CACHE | sharing.saturating_sub(1).min(0xfff) << 14;
                }
                0x8000_0000 => leaf.eax = leaf.eax.max(core_ids),
                0x8000_0001 if self.amd && threads > 1 => leaf.ecx |= CMP_LEGACY,
                0x8000_0008 => leaf.ecx = leaf.ecx & !0xf0ff | package << 12 | threads.saturating_sub(1).min(255),
                _ => {}
            }
        }
        let level = |function, index, shift, count, kind: u32| Leaf {
            function,
            index,
            indexed: true,
            eax: shift,
            ebx: count,
            ecx: kind << 8 | index,
            edx: 0,
        };
        // Extended topology: threads, cores, and in leaf 0x1f dies.
        let mut last = 0xb;
        self.leaves.extend([
            level(0xb, 0, core, topology.threads, 1),
            level(0xb, 1, package, threads, 2),
            level(0xb, 2, 0, 0, 0),
        ]);
        if topology.dies > 1 {
            last = 0x1f;
            self.leaves.extend([
                level(0x1f, 0, core, topology.threads, 1),
                level(0x1f, 1, die, in_die, 2),
                level(0x1f, 2, package, threads, 5),
                level(0x1f, 3, 0, 0, 0),
            ]);
        }
        if let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.function == 0) {
            leaf.eax = leaf.eax.max(last);
        }
    }
}

fn third_level(leaf: &Leaf) -> bool {
    leaf.eax >> 5 & 7 >= 3
}
