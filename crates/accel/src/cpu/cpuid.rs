//! Computes the guest's CPUID: the requested features that KVM supports, with this machine's topology.

use super::features::{NEEDED_BY, Register, WORDS, Word, find};
use super::models::{self, Model};
use super::{CpuConfig, CpuProperties, topology::Topology};
use kvm_accel_kvm::fd::Leaf;

/// KVM's feature leaf. The leaf below it holds KVM's signature.
pub const KVM_FEATURES: u32 = 0x4000_0001;
const KVM_SIGNATURE: u32 = 0x4000_0000;
/// Maximum number of leaves that the kernel accepts in KVM_SET_CPUID2, the same as QEMU's limit.
pub const MAX_LEAVES: usize = 100;

/// KVM's paravirtual features that make hypercalls. A guest uses them if it sees them. On some hosts hypercalls do not
/// return, which would hang the guest. So the guest sees them only if the user requests them.
const HYPERCALL_FEATURES: &[&str] = &["kvm-pv-unhalt", "kvm-pv-tlb-flush", "kvm-pv-ipi", "kvm-pv-sched-yield"];

/// Bits of leaf 1 EDX that AMD repeats in leaf 0x80000001 EDX.
const AMD_REPEATED: u32 = 0x0183_f3ff;
/// `AuthenticAMD` in EBX, EDX, ECX.
const AMD: [u32; 3] = [u32::from_le_bytes(*b"Auth"), u32::from_le_bytes(*b"enti"), u32::from_le_bytes(*b"cAMD")];
/// `HygonGenuine`.
const HYGON: [u32; 3] = [u32::from_le_bytes(*b"Hygo"), u32::from_le_bytes(*b"nGen"), u32::from_le_bytes(*b"uine")];
const HT: u32 = 1 << 28;
const CMP_LEGACY: u32 = 1 << 1;

/// The processor state components that AVX, MPX, AVX-512, PKU and AMX add to XCR0.
const COMPONENTS: &[(&str, u32)] =
    &[("avx", 1 << 2), ("mpx", 3 << 3), ("avx512f", 7 << 5), ("pku", 1 << 9), ("amx-tile", 3 << 17)];

const fn register_of(leaf: &mut Leaf, register: Register) -> &mut u32 {
    match register {
        Register::Eax => &mut leaf.eax,
        Register::Ebx => &mut leaf.ebx,
        Register::Ecx => &mut leaf.ecx,
        Register::Edx => &mut leaf.edx,
    }
}

/// The CPUID of a machine, without the vCPUs' ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    leaves: Vec<Leaf>,
    topology: Topology,
    amd: bool,
    /// Requested features that the host lacks, in QEMU's notation.
    pub missing: Vec<String>,
    /// The host's number of physical address bits, if the properties give another one.
    host_phys_bits: Option<u32>,
    /// The model is unknown, and the guest gets the host's CPU instead.
    pub unknown_model: bool,
}

impl Table {
    /// Computes the CPUID. `supported` is what KVM supports. `tsc_deadline` comes from a separate capability.
    ///
    /// # Errors
    /// The name of an unknown feature.
    pub fn new(supported: &[Leaf], config: &CpuConfig, tsc_deadline: bool) -> Result<Self, String> {
        let vendor = supported.iter().find(|leaf| leaf.function == 0).map(|leaf| [leaf.ebx, leaf.edx, leaf.ecx]);
        let amd = vendor == Some(AMD) || vendor == Some(HYGON);
        let properties = &config.properties;
        let model = models::find(&properties.model);
        let mut table = Self {
            leaves: supported.to_vec(),
            topology: config.topology,
            amd,
            missing: Vec::new(),
            host_phys_bits: None,
            unknown_model: model.is_none() && !matches!(properties.model.as_str(), "host" | "max"),
        };
        // The emulated local APIC's timer runs in every power state.
        if !supported.iter().any(|leaf| leaf.function == 6) {
            table.leaves.push(Leaf { function: 6, ..Leaf::default() });
        }
        table.add("arat");
        table.add("hypervisor");
        if tsc_deadline {
            table.add("tsc-deadline");
        }
        table.add("kvm-hint-dedicated");
        let offered = table.leaves.clone();
        table.remove("kvm-hint-dedicated");
        HYPERCALL_FEATURES.iter().for_each(|name| table.remove(name));
        if let Some(model) = model {
            table.reduce_to(model, &offered, &properties.features);
        }
        if properties.migratable {
            table.remove("invtsc");
        }
        for change in &properties.features {
            if find(&change.name).is_empty() {
                return Err(change.name.clone());
            }
            if change.on {
                table.ask(&change.name, &offered);
            } else {
                table.remove(&change.name);
            }
        }
        table.set_phys_bits(properties);
        table.settle(properties, model.is_some());
        Ok(table)
    }

    /// Returns warnings about requests that the host cannot fulfil.
    ///
    /// # Errors
    /// With `enforce`: the requested features that the host does not support.
    pub fn unavailable(&self, properties: &CpuProperties) -> Result<Vec<String>, String> {
        let mismatch = self.host_phys_bits.map(|host| {
            format!("Host physical bits ({host}) does not match phys-bits property ({})", properties.phys_bits)
        });
        let mut warnings = Vec::from_iter(mismatch);
        if !self.missing.is_empty() && (properties.check || properties.enforce) {
            let message = format!("host doesn't support requested feature: {}", self.missing.join(", "));
            if properties.enforce {
                return Err(message);
            }
            warnings.push(message);
        }
        Ok(warnings)
    }

    /// Removes the local APIC and the features that depend on it.
    pub fn hide_local_apic(&mut self) {
        ["apic", "x2apic", "tsc-deadline"].into_iter().for_each(|name| self.remove(name));
    }

    /// Returns the CPUID of one vCPU.
    #[must_use]
    pub fn of_vcpu(&self, index: u32) -> Vec<Leaf> {
        let apic_id = self.topology.apic_id(index);
        let mut leaves = self.leaves.clone();
        for leaf in &mut leaves {
            match leaf.function {
                1 => leaf.ebx = leaf.ebx & 0x00ff_ffff | apic_id << 24,
                0xb | 0x1f => leaf.edx = apic_id,
                0x8000_001e => {
                    let core = apic_id >> self.topology.core_shift() & 0xff;
                    leaf.eax = apic_id;
                    leaf.ebx = self.topology.threads.saturating_sub(1) << 8 | core;
                    leaf.ecx = self.topology.dies.saturating_sub(1) << 8 | apic_id >> self.topology.die_shift() & 0xff;
                }
                _ => {}
            }
        }
        leaves
    }

    fn word(&mut self, word: &Word) -> Option<&mut u32> {
        let leaf = self.leaves.iter_mut().find(|leaf| leaf.function == word.function && leaf.index == word.index)?;
        Some(register_of(leaf, word.register))
    }

    fn add(&mut self, name: &str) {
        for (word, mask) in find(name) {
            if let Some(value) = self.word(word) {
                *value |= mask;
            }
        }
    }

    fn remove(&mut self, name: &str) {
        for (word, mask) in find(name) {
            if let Some(value) = self.word(word) {
                *value &= !mask;
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        find(name).iter().any(|(word, mask)| offered_word(&self.leaves, word) & mask != 0)
    }

    /// Requests a feature, and records the parts of it that the host lacks.
    fn ask(&mut self, name: &str, offered: &[Leaf]) {
        for (word, mask) in find(name) {
            let available = offered_word(offered, word) & mask;
            if let Some(value) = self.word(word) {
                *value |= available;
            }
            let missing = word.bits().filter(|(bit, _)| mask & !available & 1 << bit != 0);
            self.missing.extend(missing.map(|(bit, name)| word.describe(bit, name)));
        }
    }

    /// Reduces the host's leaves to the features of `model`.
    fn reduce_to(&mut self, model: &Model, offered: &[Leaf], changes: &[super::FeatureChange]) {
        let (level, xlevel) = model.levels;
        self.leaves.retain(|leaf| match leaf.function {
            0..=2 | 4..=7 | 0xb | 0xd | 0x1d..=0x1f => leaf.function <= level.max(0xb),
            KVM_SIGNATURE..=KVM_FEATURES | 0x8000_0000..=0x8000_0008 => true,
            0x8000_000a | 0x8000_001d..=0x8000_001e | 0x8000_0021 => leaf.function <= xlevel,
            _ => false,
        });
        self.leaves.retain(|leaf| leaf.function != 7 || leaf.index < 2);
        for word in WORDS.iter().filter(|word| word.function != KVM_FEATURES) {
            if let Some(value) = self.word(word) {
                *value = 0;
            }
        }
        let taken = |name: &&str| !changes.iter().any(|change| !change.on && change.name.replace('_', "-") == **name);
        for name in model.features().into_iter().filter(taken).chain(["x2apic", "hypervisor"]) {
            self.ask(name, offered);
        }
        let (family, number, stepping) = model.signature;
        let signature =
            stepping | (number & 0xf) << 4 | number >> 4 << 16 | family.min(15) << 8 | family.saturating_sub(15) << 20;
        let brand: Vec<u32> = model
            .id
            .bytes()
            .chain(std::iter::repeat(0))
            .take(48)
            .collect::<Vec<_>>()
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte)))
            .collect();
        for leaf in &mut self.leaves {
            match leaf.function {
                0 => leaf.eax = leaf.eax.min(level),
                1 => leaf.eax = signature,
                6 => (leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0),
                7 if leaf.index == 0 => leaf.eax = leaf.eax.min(1),
                7 => (leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0),
                0x8000_0000 => leaf.eax = leaf.eax.min(xlevel),
                0x8000_0001 if self.amd => leaf.eax = signature,
                function @ 0x8000_0002..=0x8000_0004 => {
                    let at = (function - 0x8000_0002) as usize * 4;
                    if let Some([eax, ebx, ecx, edx]) = brand.get(at..at + 4) {
                        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (*eax, *ebx, *ecx, *edx);
                    }
                }
                _ => {}
            }
        }
    }

    /// Sets the number of physical address bits, if the properties give one. As in QEMU,
    /// `host_phys_bits` outranks `phys_bits`, and a number other than the host's causes a warning in
    /// either case.
    fn set_phys_bits(&mut self, properties: &CpuProperties) {
        const PHYS_BITS: u32 = 0xff;
        let wanted = u32::from(properties.phys_bits);
        let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.function == 0x8000_0008) else { return };
        let host = leaf.eax & PHYS_BITS;
        if wanted != 0 && wanted != host {
            self.host_phys_bits = Some(host);
            if !properties.host_phys_bits {
                leaf.eax = leaf.eax & !PHYS_BITS | wanted;
            }
        }
    }

    /// Derives the rest of the table from the features: features that depend on others, the state components of XSAVE, KVM's leaves, and
    /// the topology.
    fn settle(&mut self, properties: &CpuProperties, model: bool) {
        for (needed, by) in NEEDED_BY {
            if !self.has(needed) {
                by.split_ascii_whitespace().for_each(|name| self.remove(name));
            }
        }
        let gone = COMPONENTS.iter().filter(|(name, _)| !self.has(name)).fold(0, |mask, (_, bits)| mask | bits);
        let (xsave, amx, svm) = (self.has("xsave"), self.has("amx-tile"), self.has("svm"));
        let pmu = properties.pmu.unwrap_or(!model);
        self.leaves.retain(|leaf| match leaf.function {
            0xb | 0x1f => false,
            0xd if !xsave => false,
            0xd => leaf.index < 2 || leaf.index > 31 || gone & 1 << leaf.index == 0,
            0xa => pmu,
            0x1d | 0x1e => amx,
            0x8000_000a => svm,
            KVM_SIGNATURE..=KVM_FEATURES => properties.kvm,
            _ => true,
        });
        self.place();
        let repeated =
            self.amd.then(|| self.leaves.iter().find(|leaf| leaf.function == 1)).flatten().map(|leaf| leaf.edx);
        for leaf in &mut self.leaves {
            match (leaf.function, leaf.index) {
                (0xd, 0) => leaf.eax &= !gone,
                (0x8000_0001, _) => {
                    if let Some(edx) = repeated {
                        leaf.edx = leaf.edx & !AMD_REPEATED | edx & AMD_REPEATED;
                    }
                }
                _ => {}
            }
        }
        // QEMU omits leaves that are all zeroes. A query for a leaf beyond the last one returns the same.
        self.leaves.retain(|leaf| {
            matches!(leaf.function, 0 | 0x8000_001e)
                || leaf.indexed
                || (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) != (0, 0, 0, 0)
        });
        self.leaves.truncate(MAX_LEAVES);
    }

    /// Fills in the topology, except the APIC ids.
    fn place(&mut self) {
        let topology = self.topology;
        let threads = topology.threads_per_package();
        let (core, die, package) = (topology.core_shift(), topology.die_shift(), topology.package_shift());
        let sharing = |shift: u32| ((1u32 << shift.min(12)) - 1) << 14;
        for leaf in &mut self.leaves {
            match leaf.function {
                1 => {
                    leaf.ebx = leaf.ebx & 0xffff | threads.min(255) << 16;
                    leaf.edx = if threads > 1 { leaf.edx | HT } else { leaf.edx & !HT };
                }
                // Deterministic cache parameters: addressable cores per package, threads per cache. The die shares the
                // third level.
                4 | 0x8000_001d if leaf.eax & 0x1f != 0 => {
                    let shared = sharing(if leaf.eax >> 5 & 7 >= 3 { die } else { core });
                    let cores = if leaf.function == 4 { ((1u32 << (package - core).min(6)) - 1) << 26 } else { 0 };
                    leaf.eax = leaf.eax & 0x3fff | shared | cores;
                }
                0x8000_0001 if self.amd => {
                    leaf.ecx = if threads > 1 { leaf.ecx | CMP_LEGACY } else { leaf.ecx & !CMP_LEGACY };
                }
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
        let in_die = topology.cores * topology.threads;
        self.leaves.extend([
            level(0xb, 0, core, topology.threads, 1),
            level(0xb, 1, package, threads, 2),
            level(0xb, 2, 0, 0, 0),
        ]);
        let offers_1f = self.leaves.iter().any(|leaf| leaf.function == 0 && leaf.eax >= 0x1f);
        if topology.dies > 1 || offers_1f {
            last = 0x1f;
            self.leaves.extend([level(0x1f, 0, core, topology.threads, 1), level(0x1f, 1, die, in_die, 2)]);
            if topology.dies > 1 {
                self.leaves.extend([level(0x1f, 2, package, threads, 5), level(0x1f, 3, 0, 0, 0)]);
            } else {
                self.leaves.push(level(0x1f, 2, 0, 0, 0));
            }
        }
        if let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.function == 0) {
            leaf.eax = leaf.eax.max(last);
        }
    }
}

fn offered_word(leaves: &[Leaf], word: &Word) -> u32 {
    let leaf = leaves.iter().find(|leaf| leaf.function == word.function && leaf.index == word.index).copied();
    leaf.map_or(0, |mut leaf| *register_of(&mut leaf, word.register))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::FeatureChange;

    fn leaf(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
        Leaf { function, index, indexed: matches!(function, 4 | 7 | 0xb | 0xd | 0x1f), eax, ebx, ecx, edx }
    }

    fn host(vendor: &[u8; 12]) -> Vec<Leaf> {
        let word = |at: usize| u32::from_le_bytes(vendor[at..at + 4].try_into().unwrap());
        vec![
            leaf(0, 0, [0x20, word(0), word(8), word(4)]),
            leaf(1, 0, [0x806f8, 0xff00_0800, !(1 << 31 | 1 << 24), !HT]),
            leaf(4, 0, [0xfc00_c121, 1, 2, 3]),
            leaf(4, 1, [0xfc00_c163, 1, 2, 3]),
            leaf(7, 0, [2, !0, !0, !0]),
            leaf(7, 1, [!0, !0, !0, !0]),
            leaf(0xa, 0, [1, 1, 1, 1]),
            leaf(0xd, 0, [0xe7, 0, 0, 0]),
            leaf(0xd, 1, [0x1f, 0, 0, 0]),
            leaf(0xd, 2, [0x100, 0x240, 0, 0]),
            leaf(0xd, 5, [0x40, 0x440, 0, 0]),
            leaf(0x19, 0, [0; 4]),
            leaf(KVM_SIGNATURE, 0, [KVM_FEATURES, 1, 2, 3]),
            leaf(KVM_FEATURES, 0, [0xffff, 0, 0, 0]),
            leaf(0x8000_0000, 0, [0x8000_0021, 0, 0, 0]),
            leaf(0x8000_0001, 0, [0x806f8, 0, !0, !0]),
            leaf(0x8000_0002, 0, [1; 4]),
            leaf(0x8000_0008, 0, [0x3028, !0, 0x703f, 0]),
            leaf(0x8000_001e, 0, [0; 4]),
        ]
    }

    fn config(model: &str, features: &[(&str, bool)]) -> CpuConfig {
        let features = features.iter().map(|(name, on)| FeatureChange { name: (*name).into(), on: *on }).collect();
        let properties = CpuProperties { model: model.into(), features, ..CpuProperties::default() };
        CpuConfig { properties, ..CpuConfig::new(1) }
    }

    fn table(config: &CpuConfig) -> Table {
        Table::new(&host(b"GenuineIntel"), config, true).unwrap()
    }

    fn of(leaves: &[Leaf], function: u32, index: u32) -> Leaf {
        *leaves.iter().find(|leaf| leaf.function == function && leaf.index == index).unwrap()
    }

    #[test]
    fn test_host_has_what_kvm_offers_without_hypercall_features() {
        let table = table(&config("host", &[]));
        assert!(table.missing.is_empty() && !table.unknown_model);
        let leaves = table.of_vcpu(0);
        assert_eq!(of(&leaves, 1, 0).ecx, !0);
        assert_eq!(of(&leaves, KVM_FEATURES, 0).eax, 0xffff & !(1 << 7 | 1 << 9 | 1 << 11 | 1 << 13));
        assert!(leaves.iter().all(|leaf| leaf.function != 0x19), "leaf 0x19 is all zeroes");
        assert!(table.has("avx2") && table.has("tsc-deadline") && table.has("hypervisor"));
    }

    #[test]
    fn test_features_come_and_go_with_what_needs_them() {
        let table = table(&config("host", &[("kvm-pv-ipi", true), ("avx", false), ("kvm-hint-dedicated", true)]));
        assert!(table.has("kvm-pv-ipi") && table.has("kvm-hint-dedicated"));
        assert!(!table.has("avx") && !table.has("avx2") && !table.has("avx512f") && table.has("sse4.2"));
        let leaves = table.of_vcpu(0);
        assert_eq!(of(&leaves, 0xd, 0).eax, 3);
        assert!(leaves.iter().all(|leaf| leaf.function != 0xd || leaf.index < 2));
        let unknown = Table::new(&host(b"GenuineIntel"), &config("host", &[("avx3", true)]), true);
        assert_eq!(unknown.unwrap_err(), "avx3");
    }

    #[test]
    fn test_missing_features_are_named_as_qemu_names_them() {
        let mut supported = host(b"GenuineIntel");
        supported[4].ebx &= !(1 << 5);
        let table = Table::new(&supported, &config("Haswell", &[]), true).unwrap();
        assert_eq!(table.missing, ["CPUID.07H:EBX.avx2 [bit 5]"]);
        let table = Table::new(&supported, &config("Haswell", &[("avx2", false)]), true).unwrap();
        assert!(table.missing.is_empty(), "a feature that is turned off is not reported as missing");
        assert!(!Table::new(&supported, &config("host", &[("avx2", true)]), true).unwrap().missing.is_empty());
    }

    #[test]
    fn test_model_is_a_feature_set_with_its_signature() {
        let table = table(&config("Haswell-noTSX", &[]));
        assert!(table.has("avx2") && !table.has("rtm") && !table.has("avx512f") && table.has("x2apic"));
        let leaves = table.of_vcpu(0);
        assert_eq!(of(&leaves, 1, 0).eax, 0x306c1);
        assert_eq!(of(&leaves, 0, 0).eax, 0xd);
        assert_eq!(of(&leaves, 0x8000_0002, 0).eax.to_le_bytes(), *b"Inte");
        assert_eq!(of(&leaves, 0xd, 0).eax, 7);
        assert!(leaves.iter().all(|leaf| leaf.function != 0xa), "no PMU");
        assert_eq!(
            Table::new(&host(b"GenuineIntel"), &config("EPYC", &[]), true).unwrap().of_vcpu(0)[1].eax,
            0x80_0f12
        );
        assert!(Table::new(&host(b"GenuineIntel"), &config("Penryn", &[]), true).unwrap().unknown_model);
    }

    #[test]
    fn test_kvm_off_hides_the_signature_and_pmu_off_the_counters() {
        let properties = CpuProperties { kvm: false, pmu: Some(false), migratable: true, ..CpuProperties::default() };
        let hidden = table(&CpuConfig { properties, ..CpuConfig::new(1) });
        let leaves = hidden.of_vcpu(0);
        assert!(leaves.iter().all(|leaf| leaf.function >> 8 != 0x40_0000 && leaf.function != 0xa));
    }

    #[test]
    fn test_topology_is_in_every_topology_leaf() {
        let topology = Topology { sockets: 2, dies: 1, cores: 3, threads: 2 };
        let leaves = table(&CpuConfig { topology, ..CpuConfig::new(12) }).of_vcpu(7);
        assert_eq!(of(&leaves, 1, 0).ebx, 9 << 24 | 6 << 16 | 0x800);
        assert_ne!(of(&leaves, 1, 0).edx & HT, 0);
        assert_eq!(of(&leaves, 4, 0).eax, 3 << 26 | 1 << 14 | 0x121);
        assert_eq!(of(&leaves, 4, 1).eax, 3 << 26 | 7 << 14 | 0x163);
        assert_eq!(of(&leaves, 0xb, 0), leaf(0xb, 0, [1, 2, 1 << 8, 9]));
        assert_eq!(of(&leaves, 0xb, 1), leaf(0xb, 1, [3, 6, 2 << 8 | 1, 9]));
        assert_eq!(of(&leaves, 0xb, 2), leaf(0xb, 2, [0, 0, 2, 9]));
        assert_eq!(of(&leaves, 0x8000_0008, 0).ecx, 3 << 12 | 5);
        assert_eq!(of(&leaves, 1, 0).edx & HT, HT);
    }

    #[test]
    fn test_dies_are_in_leaf_1f_and_amd_repeats_features() {
        let topology = Topology { sockets: 1, dies: 2, cores: 2, threads: 1 };
        let config = CpuConfig { topology, ..config("host", &[("sse", false)]) };
        let leaves = Table::new(&host(b"AuthenticAMD"), &config, true).unwrap().of_vcpu(3);
        assert_eq!(of(&leaves, 0x1f, 1), leaf(0x1f, 1, [1, 2, 2 << 8 | 1, 3]));
        assert_eq!(of(&leaves, 0x1f, 2), leaf(0x1f, 2, [2, 4, 5 << 8 | 2, 3]));
        let extended = of(&leaves, 0x8000_0001, 0);
        assert_eq!((extended.edx & 1, extended.ecx & CMP_LEGACY), (1, CMP_LEGACY));
        assert_eq!(of(&leaves, 0x8000_001e, 0).ecx, 1 << 8 | 1);
    }
}
