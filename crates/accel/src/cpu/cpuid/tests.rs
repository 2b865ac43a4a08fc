use super::*;
use crate::cpu::FeatureChange;

const HT: u32 = 1 << 28;
const CMP_LEGACY: u32 = 1 << 1;

fn leaf(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Leaf {
    Leaf { function, index, indexed: matches!(function, 4 | 7 | 0xb | 0xd | 0x1f | 0x8000_001d), eax, ebx, ecx, edx }
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
        leaf(KVM_FEATURES, 0, [0x0100_ffff, 0, 0, 0]),
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

fn built(supported: &[Leaf], config: &CpuConfig) -> Result<Table, String> {
    Table::new(&Offer { supported, instruction: &[], tsc_deadline: true, mwait: false, hyperv: &[] }, config)
}

fn table(config: &CpuConfig) -> Table {
    built(&host(b"GenuineIntel"), config).unwrap()
}

fn of(leaves: &[Leaf], function: u32, index: u32) -> Leaf {
    *leaves.iter().find(|leaf| leaf.function == function && leaf.index == index).unwrap()
}

#[test]
fn test_host_has_what_kvm_offers_without_hypercall_features() {
    let table = table(&config("host", &[]));
    assert!(table.missing.is_empty() && !table.unknown_model);
    let leaves = table.of_vcpu(0, 0);
    assert_eq!(of(&leaves, 1, 0).ecx, !0);
    assert_eq!(of(&leaves, KVM_FEATURES, 0).eax, 0x0100_ffff & !(1 << 7 | 1 << 9 | 1 << 11 | 1 << 13));
    assert!(leaves.iter().all(|leaf| leaf.function != 0x19), "the leaf is absent");
    assert!(table.has("avx2") && table.has("tsc-deadline") && table.has("hypervisor"));
}

#[test]
fn test_features_come_and_go_with_what_needs_them() {
    let table = table(&config("host", &[("kvm-pv-ipi", true), ("avx", false), ("kvm-hint-dedicated", true)]));
    assert!(table.has("kvm-pv-ipi") && table.has("kvm-hint-dedicated"));
    assert!(!table.has("avx") && !table.has("avx2") && !table.has("avx512f") && table.has("sse4.2"));
    let leaves = table.of_vcpu(0, 0);
    assert_eq!(of(&leaves, 0xd, 0).eax, 3);
    assert!(leaves.iter().all(|leaf| leaf.function != 0xd || leaf.index < 2));
    let unknown = built(&host(b"GenuineIntel"), &config("host", &[("avx3", true)]));
    assert_eq!(unknown.unwrap_err(), "unknown CPU feature 'avx3'");
}

#[test]
fn test_missing_features_are_named_as_qemu_names_them() {
    let mut supported = host(b"GenuineIntel");
    supported[4].ebx &= !(1 << 5);
    let table = built(&supported, &config("Haswell", &[])).unwrap();
    assert_eq!(table.missing, ["CPUID.07H:EBX.avx2 [bit 5]"]);
    let table = built(&supported, &config("Haswell", &[("avx2", false)])).unwrap();
    assert!(table.missing.is_empty(), "a feature that is turned off is not reported as missing");
    assert!(!built(&supported, &config("host", &[("avx2", true)])).unwrap().missing.is_empty());
}

#[test]
fn test_model_is_a_feature_set_with_its_signature() {
    let table = table(&config("Haswell-noTSX", &[]));
    assert!(table.has("avx2") && !table.has("rtm") && !table.has("avx512f") && table.has("x2apic"));
    let leaves = table.of_vcpu(0, 0);
    assert_eq!(of(&leaves, 1, 0).eax, 0x306c1);
    assert_eq!(of(&leaves, 0, 0).eax, 0xd);
    assert_eq!(of(&leaves, 0x8000_0002, 0).eax.to_le_bytes(), *b"Inte");
    assert_eq!(of(&leaves, 0xd, 0).eax, 7);
    assert!(leaves.iter().all(|leaf| leaf.function != 0xa), "no PMU");
    assert_eq!(built(&host(b"GenuineIntel"), &config("EPYC", &[])).unwrap().of_vcpu(0, 0)[1].eax, 0x80_0f12);
    assert!(built(&host(b"GenuineIntel"), &config("Penryn", &[])).unwrap().unknown_model);
}

#[test]
fn test_kvm_off_hides_the_signature_and_pmu_off_the_counters() {
    let properties = CpuProperties { kvm: false, pmu: Some(false), migratable: true, ..CpuProperties::default() };
    let hidden = table(&CpuConfig { properties, ..CpuConfig::new(1) });
    let leaves = hidden.of_vcpu(0, 0);
    assert!(leaves.iter().all(|leaf| leaf.function >> 8 != 0x40_0000 && leaf.function != 0xa));
}

#[test]
fn test_topology_is_in_every_topology_leaf() {
    let topology = Topology { sockets: 2, dies: 1, cores: 3, threads: 2 };
    let leaves = table(&CpuConfig { topology, ..CpuConfig::new(12) }).of_vcpu(7, 0);
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
    let leaves = built(&host(b"AuthenticAMD"), &config).unwrap().of_vcpu(3, 0);
    assert_eq!(of(&leaves, 0x1f, 1), leaf(0x1f, 1, [1, 2, 2 << 8 | 1, 3]));
    assert_eq!(of(&leaves, 0x1f, 2), leaf(0x1f, 2, [2, 4, 5 << 8 | 2, 3]));
    let extended = of(&leaves, 0x8000_0001, 0);
    assert_eq!((extended.edx & 1, extended.ecx & CMP_LEGACY), (1, CMP_LEGACY));
    assert_eq!(of(&leaves, 0x8000_001e, 0).ecx, 1 << 8 | 1);
}

#[test]
fn test_instruction_fills_what_kvm_leaves_zero() {
    let instruction = [
        leaf(4, 0, [0x121; 4]),
        leaf(MWAIT, 0, [0x40, 0x40, 0, 0x2020]),
        leaf(0x8000_0002, 0, [7; 4]),
        leaf(0x8000_0003, 0, [8; 4]),
        leaf(0x8000_0005, 0, [9; 4]),
        leaf(0x8000_001d, 0, [0x121, 5, 6, 0]),
        leaf(0x8000_001d, 1, [0x163, 5, 6, 0]),
    ];
    let topology = Topology { sockets: 1, dies: 1, cores: 3, threads: 2 };
    let config = CpuConfig { topology, ..CpuConfig::new(6) };
    let offer = Offer {
        supported: &host(b"AuthenticAMD"),
        instruction: &instruction,
        tsc_deadline: true,
        mwait: false,
        hyperv: &[],
    };
    let leaves = Table::new(&offer, &config).unwrap().of_vcpu(0, 0);
    assert_eq!(of(&leaves, 0x8000_0002, 0).eax, 1, "KVM's");
    assert_eq!(of(&leaves, 0x8000_0003, 0).eax, 8);
    assert_eq!(of(&leaves, 0x8000_0005, 0).edx, 9);
    assert_eq!(of(&leaves, 4, 0).ebx, 1, "KVM's");
    assert_eq!(of(&leaves, 0x8000_001d, 0).eax, 1 << 14 | 0x121, "a core shares the first level");
    assert_eq!(of(&leaves, 0x8000_001d, 1).eax, 5 << 14 | 0x163, "a die shares the third level");
    assert_eq!(of(&leaves, MWAIT, 0), leaf(MWAIT, 0, [0, 0, 3, 0]));
    let idles = Table::new(&Offer { mwait: true, ..offer }, &config).unwrap();
    assert!(idles.has("monitor"));
    assert_eq!(of(&idles.of_vcpu(0, 0), MWAIT, 0), leaf(MWAIT, 0, [0x40, 0x40, 3, 0x2020]));
}

#[test]
fn test_vendor_decides_which_leaves_a_cpu_has() {
    let with = |model: &str, vendor: &str| {
        let mut config = config(model, &[]);
        config.properties.vendor = Some(vendor.into());
        built(&host(b"AuthenticAMD"), &config).unwrap().of_vcpu(0, 0)
    };
    let intel = with("Haswell", "GenuineIntel");
    for function in [0, 0x8000_0000] {
        let leaf = of(&intel, function, 0);
        assert_eq!([leaf.ebx, leaf.edx, leaf.ecx], words(b"GenuineIntel"));
    }
    assert_eq!(of(&intel, 2, 0).edx, 0x2c_307d);
    assert_eq!(of(&intel, 0x8000_0001, 0).edx & 0x0183_f3ff, 0);
    let amd = with("Haswell", "AuthenticAMD");
    assert!(amd.iter().all(|leaf| !matches!(leaf.function, 2 | 4)));
    assert_eq!(of(&amd, 0x8000_0001, 0).edx & 3, 3);
    assert_eq!(of(&with("host", "GenuineIntel"), 0x8000_0001, 0).edx & 3, 0);
    let mut properties = CpuProperties { vendor: Some("Intel".into()), ..CpuProperties::default() };
    assert!(properties.check().unwrap_err().contains("'Intel'"));
    properties.vendor = Some("GenuineIntel".into());
    assert_eq!(properties.check(), Ok(()));
}

#[test]
fn test_model_has_the_state_and_the_subleaves_of_its_features() {
    let mut supported = host(b"GenuineIntel");
    supported.push(leaf(0xd, 11, [0x10, 0, 1, 0]));
    supported.push(leaf(7, 2, [0, 0, 0, 1]));
    let of_model = |model| built(&supported, &config(model, &[])).unwrap().of_vcpu(0, 0);
    let (host, haswell, server) = (of_model("host"), of_model("Haswell"), of_model("Skylake-Server"));
    assert_eq!(of(&host, 7, 0).eax, 2);
    assert_eq!(of(&haswell, 7, 0).eax, 0);
    assert_eq!((of(&haswell, 0xd, 0).eax, of(&haswell, 0xd, 0).ecx), (7, 0x340));
    assert_eq!((of(&server, 0xd, 0).eax, of(&server, 0xd, 0).ecx), (0xe7, 0x480));
    assert!(host.iter().any(|leaf| (leaf.function, leaf.index) == (0xd, 11)), "KVM's own");
    assert!(haswell.iter().all(|leaf| leaf.function != 0xd || leaf.index < 3));
    assert_eq!(of(&haswell, KVM_FEATURES, 0).eax, 0x0100_007b, "as QEMU's models");
    assert_eq!(of(&haswell, 0x8000_0005, 0).ecx, 0x4002_0140);
    let sapphire = of_model("SapphireRapids");
    assert_eq!(of(&sapphire, 0, 0).eax, 0x20, "the model's, on any host");
}

#[test]
fn test_frequencies_are_reported_if_they_never_change() {
    let frequencies = |change: &dyn Fn(&mut CpuProperties)| {
        let mut supported = host(b"GenuineIntel");
        supported.push(leaf(0x8000_0007, 0, [0, 0, 0, 0x100]));
        let mut config = config("host", &[]);
        change(&mut config.properties);
        let leaves = built(&supported, &config).unwrap().of_vcpu(0, 2_000_000);
        let last = leaves.iter().find(|leaf| leaf.function == KVM_SIGNATURE).map(|leaf| leaf.eax);
        (last, leaves.iter().find(|leaf| leaf.function == FREQUENCIES).map(|leaf| (leaf.eax, leaf.ebx)))
    };
    let known = (Some(FREQUENCIES), Some((2_000_000, 1_000_000)));
    assert_eq!(frequencies(&|_| ()), known);
    assert_eq!(frequencies(&|cpu| cpu.migratable = true), (Some(KVM_FEATURES), None));
    assert_eq!(frequencies(&|cpu| (cpu.migratable, cpu.tsc_khz) = (true, Some(2_000_000))), known);
    assert_eq!(frequencies(&|cpu| cpu.kvm = false), (None, None));
}

#[test]
fn test_hyperv_leaves_come_before_those_of_kvm() {
    let supported = host(b"GenuineIntel");
    let hyperv = [leaf(0x4000_0004, 0, [1 << 5, 0, 0, 0])];
    let offer = Offer { supported: &supported, instruction: &[], tsc_deadline: true, mwait: false, hyperv: &hyperv };
    let table = Table::new(&offer, &config("host", &[("hv_relaxed", true), ("invtsc", true)])).unwrap();
    let leaves = table.of_vcpu(0, 1000);
    assert_eq!(of(&leaves, KVM_SIGNATURE, 0).eax, 0x4000_0005);
    assert_eq!(of(&leaves, KVM_SIGNATURE + 0x100, 0), leaf(KVM_SIGNATURE + 0x100, 0, [KVM_FEATURES + 0x100, 1, 2, 3]));
    assert_ne!(of(&leaves, KVM_FEATURES + 0x100, 0).eax, 0);
    assert!(leaves.iter().all(|leaf| leaf.function != FREQUENCIES));
}
