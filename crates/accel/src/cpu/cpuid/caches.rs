//! The caches that QEMU's CPU models have, in the encodings of CPUID.

use kvm_accel_kvm::fd::Leaf;

/// One cache. Every cache has lines of 64 bytes, and one line for each tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cache {
    level: u32,
    kind: u32,
    kib: u32,
    ways: u32,
    self_initialising: bool,
    /// Leaf 4 EDX: bit 0, WBINVD does not act upon caches of other threads; bit 1, inclusive; bit 2, complex indexing.
    flags: u32,
}

const DATA: u32 = 1;
const INSTRUCTION: u32 = 2;
const UNIFIED: u32 = 3;
const LINE: u32 = 64;

/// A model's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    l1d: Cache,
    l1i: Cache,
    l2: Cache,
    l3: Cache,
}

const fn first(kind: u32, kib: u32, ways: u32) -> Cache {
    Cache { level: 1, kind, kib, ways, self_initialising: true, flags: 1 }
}

const fn second(kib: u32, ways: u32) -> Cache {
    Cache { level: 2, kind: UNIFIED, kib, ways, self_initialising: false, flags: 0 }
}

const fn third(kib: u32) -> Cache {
    Cache { level: 3, kind: UNIFIED, kib, ways: 16, self_initialising: true, flags: 6 }
}

const fn epyc(l1i: (u32, u32), l3: u32) -> Caches {
    Caches { l1d: first(DATA, 32, 8), l1i: first(INSTRUCTION, l1i.0, l1i.1), l2: second(512, 8), l3: third(l3) }
}

/// The models whose caches are not [`INTEL`] or [`AMD`], by the beginning of their names. A longer name is first.
const BY_MODEL: &[(&str, Caches)] = &[
    ("EPYC-Milan", epyc((32, 8), 32 * 1024)),
    ("EPYC-Rome", epyc((32, 8), 16 * 1024)),
    ("EPYC", epyc((64, 4), 8 * 1024)),
];
/// The other models' caches in leaf 4.
const INTEL: Caches = Caches {
    l1d: first(DATA, 32, 8),
    l1i: first(INSTRUCTION, 32, 8),
    l2: Cache { self_initialising: true, flags: 1, ..second(4096, 16) },
    l3: third(16 * 1024),
};
/// The second level in leaf 2 of those models.
const INTEL_L2_OF_LEAF_2: Cache = second(2048, 8);
/// The other models' caches in AMD's leaves.
const AMD: Caches =
    Caches { l1d: first(DATA, 64, 2), l1i: first(INSTRUCTION, 64, 2), l2: second(512, 16), l3: third(16 * 1024) };

impl Cache {
    const fn sets(&self) -> u32 {
        self.kib * 1024 / (self.ways * LINE)
    }

    /// Returns a subleaf of leaf 4 or 0x8000001d, without the number of processors that share the cache.
    fn subleaf(&self, function: u32) -> Leaf {
        Leaf {
            function,
            index: if self.level == 1 { self.kind - DATA } else { self.level },
            indexed: true,
            eax: self.kind | self.level << 5 | u32::from(self.self_initialising) << 8,
            ebx: (LINE - 1) | (self.ways - 1) << 22,
            ecx: self.sets() - 1,
            edx: self.flags,
        }
    }

    /// Returns a register of leaf 0x80000005.
    const fn first_level(&self) -> u32 {
        self.kib << 24 | self.ways << 16 | 1 << 8 | LINE
    }

    /// Returns the last twelve bits and the associativity of a register of leaf 0x80000006.
    const fn associativity(&self) -> u32 {
        let code = match self.ways {
            2 => 2,
            4 => 4,
            8 => 6,
            _ => 8,
        };
        code << 12 | 1 << 8 | LINE
    }

    /// Returns the descriptor of leaf 2; 0xff, which refers to leaf 4, for a cache without one.
    const fn descriptor(&self) -> u32 {
        match (self.level, self.kind, self.kib, self.ways) {
            (1, DATA, 32, 8) => 0x2c,
            (1, INSTRUCTION, 32, 8) => 0x30,
            (2, _, 512, 8) => 0x80,
            (2, _, 2048, 8) => 0x7d,
            (3, _, 8192, 16) => 0x4b,
            (3, _, 16384, 16) => 0x4d,
            _ => 0xff,
        }
    }
}

/// Returns the cache leaves of a model. Leaves 2 and 4 are Intel's, so an AMD CPU lacks them.
pub fn leaves(model: &str, amd: bool) -> Vec<Leaf> {
    let own = BY_MODEL.iter().find(|(name, _)| model.starts_with(name)).map(|(_, caches)| *caches);
    let intel = own.unwrap_or(INTEL);
    let Caches { l1d, l1i, l2, l3 } = own.unwrap_or(AMD);
    let mut leaves = Vec::new();
    if !amd {
        let l2 = if own.is_some() { intel.l2 } else { INTEL_L2_OF_LEAF_2 };
        let edx = intel.l1d.descriptor() << 16 | intel.l1i.descriptor() << 8 | l2.descriptor();
        leaves.push(Leaf { function: 2, eax: 1, ecx: intel.l3.descriptor(), edx, ..Leaf::default() });
        leaves.extend([intel.l1d, intel.l1i, intel.l2, intel.l3].map(|cache| cache.subleaf(4)));
    }
    // The TLBs are the same in all models.
    leaves.push(Leaf {
        function: 0x8000_0005,
        eax: 0x01ff_01ff,
        ebx: 0x01ff_01ff,
        ecx: l1d.first_level(),
        edx: l1i.first_level(),
        ..Leaf::default()
    });
    leaves.push(Leaf {
        function: 0x8000_0006,
        ebx: 0x4200_4200,
        ecx: l2.kib << 16 | l2.associativity(),
        // In units of 512 KiB.
        edx: (l3.kib / 512) << 18 | l3.associativity(),
        ..Leaf::default()
    });
    leaves.extend([l1d, l1i, l2, l3].map(|cache| cache.subleaf(0x8000_001d)));
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(leaves: &[Leaf], function: u32, index: u32) -> [u32; 4] {
        let leaf = leaves.iter().find(|leaf| leaf.function == function && leaf.index == index).unwrap();
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
    }

    #[test]
    fn test_intel_models_have_the_caches_of_qemu() {
        let leaves = leaves("Haswell", false);
        assert_eq!(registers(&leaves, 2, 0), [1, 0, 0x4d, 0x2c_307d]);
        assert_eq!(registers(&leaves, 4, 0), [0x121, 0x01c0_003f, 0x3f, 1]);
        assert_eq!(registers(&leaves, 4, 1), [0x122, 0x01c0_003f, 0x3f, 1]);
        assert_eq!(registers(&leaves, 4, 2), [0x143, 0x03c0_003f, 0xfff, 1]);
        assert_eq!(registers(&leaves, 4, 3), [0x163, 0x03c0_003f, 0x3fff, 6]);
        assert_eq!(registers(&leaves, 0x8000_0005, 0)[2..], [0x4002_0140, 0x4002_0140]);
        assert_eq!(registers(&leaves, 0x8000_0006, 0), [0, 0x4200_4200, 0x0200_8140, 0x0080_8140]);
    }

    #[test]
    fn test_epyc_models_have_their_own_caches() {
        let first = leaves("EPYC-v3", true);
        assert!(first.iter().all(|leaf| !matches!(leaf.function, 2 | 4)), "Intel's");
        assert_eq!(registers(&first, 0x8000_0005, 0)[2..], [0x2008_0140, 0x4004_0140]);
        assert_eq!(registers(&first, 0x8000_001d, 1), [0x122, 0x00c0_003f, 0xff, 1]);
        assert_eq!(registers(&first, 0x8000_001d, 2), [0x43, 0x01c0_003f, 0x3ff, 0]);
        assert_eq!(registers(&leaves("EPYC-Rome", true), 0x8000_0006, 0)[3], 0x0080_8140);
        assert_eq!(registers(&leaves("EPYC-Milan", true), 0x8000_001d, 3)[2], 0x7fff);
        assert_eq!(registers(&leaves("EPYC", false), 2, 0), [1, 0, 0x4b, 0x2c_ff80]);
    }
}
