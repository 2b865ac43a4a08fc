//! Hyper-V enlightenments: the leaves by which a guest of Hyper-V, such as Windows, finds KVM's implementation of
//! Hyper-V's interface. Names, dependencies and messages are QEMU's.

use super::CpuProperties;
use super::features::Register::{self, Eax, Edx};
use kvm_accel_kvm::fd::Leaf;

/// The leaves of Hyper-V's interface. KVM's own leaves begin 0x100 above the first one.
const VENDOR: u32 = 0x4000_0000;
const INTERFACE: u32 = 0x4000_0001;
const VERSION: u32 = 0x4000_0002;
const FEATURES: u32 = 0x4000_0003;
const RECOMMENDATIONS: u32 = 0x4000_0004;
const LIMITS: u32 = 0x4000_0005;

/// Leaf 0x40000003: the hypercall MSRs in EAX, which every enlightenment needs; posting messages and signalling events
/// in EBX; adding processors in EDX, which Windows requires.
const HYPERCALLS: u32 = 1 << 5;
const MESSAGES_AND_EVENTS: u32 = 3 << 4;
const DYNAMIC_PARTITIONING: u32 = 1 << 3;
/// Leaf 0x40000004 EAX: use the MSRs of the local APIC.
const USE_APIC_MSRS: u32 = 1 << 3;

/// QEMU's version: build 0x3839, 10.0.
const BUILD: u32 = 0x3839;
const MAJOR_MINOR: u32 = 0xa << 16;
const MAX_PROCESSORS: u32 = u32::MAX;
const MAX_LOGICAL_PROCESSORS: u32 = 64;
/// The number of attempts after which a guest reports a long wait for a spin lock: never.
const NEVER: u32 = u32::MAX;

/// Turns on everything that KVM supports.
const PASSTHROUGH: &str = "hv-passthrough";
/// Makes KVM refuse what the leaves do not offer.
const ENFORCE: &str = "hv-enforce-cpuid";

/// One enlightenment.
#[derive(Debug, PartialEq, Eq)]
struct Enlightenment {
    name: &'static str,
    title: &'static str,
    bits: &'static [(u32, Register, u32)],
    needs: &'static [&'static str],
}

const fn of(
    name: &'static str,
    title: &'static str,
    bits: &'static [(u32, Register, u32)],
    needs: &'static [&'static str],
) -> Enlightenment {
    Enlightenment { name, title, bits, needs }
}

#[rustfmt::skip]
const ALL: &[Enlightenment] = &[
    of("hv-relaxed", "relaxed timing", &[(RECOMMENDATIONS, Eax, 1 << 5)], &[]),
    of("hv-vapic", "virtual APIC", &[(FEATURES, Eax, 1 << 4)], &[]),
    of("hv-time", "clocksources", &[(FEATURES, Eax, 1 << 1 | 1 << 9)], &[]),
    of("hv-crash", "crash MSRs", &[(FEATURES, Edx, 1 << 10)], &[]),
    of("hv-reset", "reset MSR", &[(FEATURES, Eax, 1 << 7)], &[]),
    of("hv-vpindex", "VP_INDEX MSR", &[(FEATURES, Eax, 1 << 6)], &[]),
    of("hv-runtime", "VP_RUNTIME MSR", &[(FEATURES, Eax, 1)], &[]),
    of("hv-synic", "synthetic interrupt controller", &[(FEATURES, Eax, 1 << 2)], &["hv-vpindex"]),
    of("hv-stimer", "synthetic timers", &[(FEATURES, Eax, 1 << 3)], &["hv-synic", "hv-time"]),
    of("hv-frequencies", "frequency MSRs", &[(FEATURES, Eax, 1 << 11), (FEATURES, Edx, 1 << 8)], &[]),
    of("hv-reenlightenment", "reenlightenment MSRs", &[(FEATURES, Eax, 1 << 13)], &[]),
    of("hv-tlbflush", "paravirtualized TLB flush", &[(RECOMMENDATIONS, Eax, 1 << 2 | 1 << 11)], &["hv-vpindex"]),
    of("hv-ipi", "paravirtualized IPI", &[(RECOMMENDATIONS, Eax, 1 << 10 | 1 << 11)], &["hv-vpindex"]),
    of("hv-stimer-direct", "direct mode synthetic timers", &[(FEATURES, Edx, 1 << 19)], &["hv-stimer"]),
    of("hv-avic", "AVIC/APICv support", &[(RECOMMENDATIONS, Eax, 1 << 9)], &[]),
    of("hv-xmm-input", "XMM fast hypercall input", &[(FEATURES, Edx, 1 << 4)], &[]),
    of("hv-tlbflush-ext", "extended gva ranges for TLB flush hypercalls", &[(FEATURES, Edx, 1 << 14)], &["hv-tlbflush"]),
];

/// Returns the names that [`CpuProperties::features`] may contain.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|one| one.name).chain([PASSTHROUGH, ENFORCE])
}

/// Returns true if `name` is an enlightenment.
pub fn is_known(name: &str) -> bool {
    names().any(|known| known == name.replace('_', "-"))
}

/// Returns true if the guest may get enlightenments.
pub fn is_asked(properties: &CpuProperties) -> bool {
    properties.hv_spinlocks.is_some() || properties.features.iter().any(|change| change.on && is_known(&change.name))
}

/// The guest's enlightenments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hyperv {
    /// The leaves from 0x40000000 on.
    pub leaves: Vec<Leaf>,
    /// Each vCPU needs KVM_CAP_HYPERV_SYNIC2.
    pub synic: bool,
    /// Each vCPU needs KVM_CAP_HYPERV_ENFORCE_CPUID.
    pub enforce: bool,
}

impl Hyperv {
    /// Chooses the enlightenments. `supported` is the result of KVM_GET_SUPPORTED_HV_CPUID; without it, KVM supports
    /// none. Returns `None` if the guest gets none.
    ///
    /// # Errors
    /// A sentence about an enlightenment that KVM does not support, or whose dependency is missing.
    pub fn new(properties: &CpuProperties, supported: &[Leaf]) -> Result<Option<Self>, String> {
        if !is_asked(properties) {
            return Ok(None);
        }
        let named = |name: &str| {
            let last = properties.features.iter().rfind(|change| change.name.replace('_', "-") == name);
            last.map(|change| change.on)
        };
        let passthrough = named(PASSTHROUGH) == Some(true);
        let has = |one: &Enlightenment| {
            one.bits.iter().all(|(leaf, register, bits)| register.of(&find(supported, *leaf)) & bits == *bits)
        };
        let on: Vec<_> = ALL.iter().filter(|one| named(one.name).unwrap_or(passthrough && has(one))).collect();
        let unsupported = |title: &str, name: &str| {
            Err(format!("Hyper-V {title} ({name}) is not supported by kernel: omit {name}, or use a host with it"))
        };
        if supported.is_empty() && passthrough {
            return unsupported("passthrough", PASSTHROUGH);
        }
        if supported.is_empty() && properties.hv_spinlocks.is_some() {
            return unsupported("spinlock retries", "hv-spinlocks");
        }
        if let Some(missing) = on.iter().find(|one| !has(one)) {
            return unsupported(missing.title, missing.name);
        }
        for one in &on {
            let absent = |need: &&&str| !on.iter().any(|other| other.name == **need);
            if let Some(need) = one.needs.iter().find(absent) {
                let title = ALL.iter().find(|other| other.name == *need).map_or("", |other| other.title);
                let Enlightenment { name, title: mine, .. } = one;
                return Err(format!("Hyper-V {mine} ({name}) requires Hyper-V {title} ({need}): add {need}"));
            }
        }
        if on.is_empty() && !passthrough && properties.hv_spinlocks.is_none() {
            return Ok(None);
        }
        let leaves = leaves(properties, &on, if passthrough { supported } else { &[] });
        let synic = on.iter().any(|one| one.name == "hv-synic");
        Ok(Some(Self { leaves, synic, enforce: named(ENFORCE) == Some(true) }))
    }
}

fn find(leaves: &[Leaf], function: u32) -> Leaf {
    leaves.iter().find(|leaf| leaf.function == function).copied().unwrap_or_default()
}

/// Builds the leaves. `kernel`: KVM's own description, if the guest gets it.
fn leaves(properties: &CpuProperties, on: &[&Enlightenment], kernel: &[Leaf]) -> Vec<Leaf> {
    let bits = |function, register| {
        let of_leaf = on.iter().flat_map(|one| one.bits).filter(|bits| (bits.0, bits.1) == (function, register));
        of_leaf.fold(0, |mask, (_, _, bits)| mask | bits)
    };
    let named = |name: &str| on.iter().any(|one| one.name == name);
    let leaf = |function, [eax, ebx, ecx, edx]: [u32; 4]| Leaf { function, eax, ebx, ecx, edx, ..Leaf::default() };
    let own =
        |function, default: Leaf| kernel.iter().find(|leaf| leaf.function == function).copied().unwrap_or(default);

    let mut name = [0; 12];
    let given = properties.hv_vendor_id.as_deref().unwrap_or("Microsoft Hv");
    name.iter_mut().zip(given.bytes()).for_each(|(to, byte)| *to = byte);
    let [ebx, ecx, edx] = super::cpuid::words(&name);
    let vendor = match properties.hv_vendor_id {
        Some(_) => leaf(VENDOR, [LIMITS, ebx, ecx, edx]),
        None => Leaf { eax: LIMITS, ..own(VENDOR, leaf(VENDOR, [LIMITS, ebx, ecx, edx])) },
    };
    let messages = if named("hv-synic") { MESSAGES_AND_EVENTS } else { 0 };
    let apic = if named("hv-vapic") && !named("hv-avic") { USE_APIC_MSRS } else { 0 };
    let spinlocks = match (properties.hv_spinlocks, kernel.is_empty()) {
        (Some(attempts), _) => attempts,
        (None, false) => find(kernel, RECOMMENDATIONS).ebx,
        (None, true) => NEVER,
    };
    vec![
        vendor,
        leaf(INTERFACE, [u32::from_le_bytes(*b"Hv#1"), 0, 0, 0]),
        own(VERSION, leaf(VERSION, [BUILD, MAJOR_MINOR, 0, 0])),
        leaf(FEATURES, [bits(FEATURES, Eax) | HYPERCALLS, messages, 0, bits(FEATURES, Edx) | DYNAMIC_PARTITIONING]),
        leaf(RECOMMENDATIONS, [bits(RECOMMENDATIONS, Eax) | apic, spinlocks, 0, 0]),
        own(LIMITS, leaf(LIMITS, [MAX_PROCESSORS, MAX_LOGICAL_PROCESSORS, 0, 0])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::FeatureChange;

    fn properties(names: &[&str]) -> CpuProperties {
        let change = |name: &&str| FeatureChange { name: (*name).into(), on: true };
        CpuProperties { features: names.iter().map(change).collect(), ..CpuProperties::default() }
    }

    /// The leaves of a kernel with everything.
    fn kernel() -> Vec<Leaf> {
        let leaf = |function, eax, ebx, edx| Leaf { function, eax, ebx, edx, ..Leaf::default() };
        vec![
            leaf(VENDOR, LIMITS, u32::from_le_bytes(*b"Linu"), 0),
            leaf(VERSION, 0x3839, MAJOR_MINOR, 7),
            leaf(FEATURES, 0x3fff, 0, !0),
            leaf(RECOMMENDATIONS, 0x4_ffff, 0xfff, 0),
            leaf(LIMITS, 1024, 0, 0),
        ]
    }

    fn registers(hyperv: &Hyperv, function: u32) -> [u32; 4] {
        let leaf = find(&hyperv.leaves, function);
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
    }

    #[test]
    fn test_a_guest_gets_what_it_asks_for() {
        assert_eq!(Hyperv::new(&properties(&["avx"]), &kernel()), Ok(None));
        let hyperv = Hyperv::new(&properties(&["hv_relaxed", "hv-vapic", "hv-time"]), &kernel()).unwrap().unwrap();
        assert!(!hyperv.synic && !hyperv.enforce);
        let vendor = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
        assert_eq!(registers(&hyperv, VENDOR), [LIMITS, vendor[0], vendor[1], vendor[2]]);
        assert_eq!(registers(&hyperv, INTERFACE), [0x3123_7648, 0, 0, 0]);
        assert_eq!(registers(&hyperv, VERSION), [0x3839, 0xa_0000, 0, 0]);
        assert_eq!(registers(&hyperv, FEATURES), [0x232, 0, 0, 8]);
        assert_eq!(registers(&hyperv, RECOMMENDATIONS), [0x28, !0, 0, 0]);
        assert_eq!(registers(&hyperv, LIMITS), [!0, 64, 0, 0]);
        let mut own = properties(&["hv-vpindex", "hv-synic", "hv-enforce-cpuid"]);
        own.hv_spinlocks = Some(0x1fff);
        own.hv_vendor_id = Some("own".into());
        let hyperv = Hyperv::new(&own, &kernel()).unwrap().unwrap();
        assert!(hyperv.synic && hyperv.enforce);
        assert_eq!(registers(&hyperv, VENDOR), [LIMITS, u32::from_le_bytes(*b"own\0"), 0, 0]);
        assert_eq!(registers(&hyperv, FEATURES), [0x64, 0x30, 0, 8]);
        assert_eq!(registers(&hyperv, RECOMMENDATIONS), [0, 0x1fff, 0, 0]);
    }

    #[test]
    fn test_passthrough_is_what_the_kernel_has() {
        let mut asked = properties(&["hv-passthrough"]);
        asked.features.push(FeatureChange { name: "hv-avic".into(), on: false });
        let hyperv = Hyperv::new(&asked, &kernel()).unwrap().unwrap();
        assert!(hyperv.synic);
        assert_eq!(registers(&hyperv, VENDOR)[1], u32::from_le_bytes(*b"Linu"));
        assert_eq!(registers(&hyperv, VERSION)[3], 7);
        assert_eq!(registers(&hyperv, FEATURES), [0x2aff, 0x30, 0, 0x8_4518]);
        assert_eq!(registers(&hyperv, RECOMMENDATIONS), [0xc2c, 0xfff, 0, 0]);
        assert_eq!(registers(&hyperv, LIMITS)[0], 1024);
    }

    #[test]
    fn test_what_is_missing_is_an_error() {
        let error = |names: &[&str], supported: &[Leaf]| Hyperv::new(&properties(names), supported).unwrap_err();
        let expected = "Hyper-V relaxed timing (hv-relaxed) is not supported by kernel";
        assert!(error(&["hv-relaxed"], &[]).starts_with(expected));
        assert!(error(&["hv-passthrough"], &[]).contains("hv-passthrough"));
        let expected =
            "Hyper-V synthetic timers (hv-stimer) requires Hyper-V synthetic interrupt controller (hv-synic)";
        assert!(error(&["hv-stimer", "hv-time"], &kernel()).starts_with(expected));
        assert!(error(&["hv-synic"], &kernel()).contains("VP_INDEX MSR (hv-vpindex)"));
        let spinlocks = CpuProperties { hv_spinlocks: Some(8191), ..CpuProperties::default() };
        assert!(Hyperv::new(&spinlocks, &[]).unwrap_err().contains("hv-spinlocks"));
    }

    #[test]
    fn test_every_dependency_is_an_enlightenment() {
        assert!(ALL.iter().flat_map(|one| one.needs).all(|need| is_known(need)));
    }
}
