//! Computes the guest's CPUID: the requested features that KVM supports, with this machine's topology.
//!
//! Modules, independent of each other:
//!
//! - `caches`: the caches of QEMU's models.
//! - `reduce`: the host's leaves as those of a model.
//! - `settle`: features whose requirements are missing, the state of XSAVE, KVM's leaves, and the topology.

mod caches;
mod reduce;
mod settle;
#[cfg(test)]
mod tests;

use super::features::{Register, Word, find};
use super::hyperv::{self, Hyperv};
use super::{CpuConfig, CpuProperties, models, topology::Topology};
use kvm_accel_kvm::fd::Leaf;

/// KVM's feature leaf. The leaf below it holds KVM's signature.
pub const KVM_FEATURES: u32 = 0x4000_0001;
const KVM_SIGNATURE: u32 = 0x4000_0000;
/// Maximum number of leaves that the kernel accepts in KVM_SET_CPUID2, the same as QEMU's limit.
pub const MAX_LEAVES: usize = 100;

/// KVM's paravirtual features that make hypercalls. A guest uses them if it sees them. On some hosts hypercalls do not
/// return, which would hang the guest. So the guest sees them only if the user requests them.
const HYPERCALL_FEATURES: &[&str] = &["kvm-pv-unhalt", "kvm-pv-tlb-flush", "kvm-pv-ipi", "kvm-pv-sched-yield"];

/// The leaf with the frequencies of the time-stamp counter and of the local APIC's timer in kHz, as VMware defines it.
const FREQUENCIES: u32 = 0x4000_0010;
/// The frequency of KVM's local APIC timer: 1 GHz.
const APIC_KHZ: u32 = 1_000_000;
/// The leaf of MONITOR and MWAIT.
const MWAIT: u32 = 5;
/// QEMU's ECX of that leaf: the extensions are listed, and interrupts end MWAIT.
const MWAIT_EXTENSIONS: u32 = 3;
/// The number of physical address bits in EAX, and the topology of AMD's CPUs.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const PHYS_BITS: u32 = 0xff;
/// The number of physical address bits of a CPU without leaf 0x80000008.
const LEGACY_PHYS_BITS: u32 = 36;

const fn register_of(leaf: &mut Leaf, register: Register) -> &mut u32 {
    match register {
        Register::Eax => &mut leaf.eax,
        Register::Ebx => &mut leaf.ebx,
        Register::Ecx => &mut leaf.ecx,
        Register::Edx => &mut leaf.edx,
    }
}

/// Returns the registers with this name of 12 characters.
pub(super) const fn words(name: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *name;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), u32::from_le_bytes([i, j, k, l])]
}

/// What the host offers to guests.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The result of KVM_GET_SUPPORTED_CPUID.
    pub supported: &'a [Leaf],
    /// The results of the CPUID instruction on this host. They replace leaves that KVM leaves zero, if a leaf
    /// describes the CPU and offers no feature.
    pub instruction: &'a [Leaf],
    /// KVM_CAP_TSC_DEADLINE_TIMER.
    pub tsc_deadline: bool,
    /// The guest may execute MWAIT without an exit.
    pub mwait: bool,
    /// The result of KVM_GET_SUPPORTED_HV_CPUID, if the guest asks for Hyper-V's interface.
    pub hyperv: &'a [Leaf],
}

/// The CPUID of a machine, without the vCPUs' ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    leaves: Vec<Leaf>,
    topology: Topology,
    /// The guest's CPU is AMD's, or Hygon's.
    amd: bool,
    /// The guest learns the frequency of its time-stamp counter, which never changes.
    tsc_is_known: bool,
    hyperv: Hyperv,
    /// Requested features that the host lacks, in QEMU's notation.
    pub missing: Vec<String>,
    /// The host's number of physical address bits, if the properties give another one.
    host_phys_bits: Option<u32>,
    /// The model is unknown, and the guest gets the host's CPU instead.
    pub unknown_model: bool,
}

impl Table {
    /// Computes the CPUID from the leaves that the host supports.
    ///
    /// # Errors
    /// A sentence about an unknown feature, or about enlightenments that the guest cannot have.
    pub fn new(offer: &Offer<'_>, config: &CpuConfig) -> Result<Self, String> {
        let properties = &config.properties;
        let model = models::find(&properties.model);
        let mut table = Self {
            leaves: offer.supported.to_vec(),
            topology: config.topology,
            amd: false,
            tsc_is_known: false,
            hyperv: Hyperv::default(),
            missing: Vec::new(),
            host_phys_bits: None,
            unknown_model: model.is_none() && !matches!(properties.model.as_str(), "host" | "max"),
        };
        table.set_vendor(properties);
        table.describe_host(offer);
        // The emulated local APIC's timer runs in every power state.
        if table.leaf(6).is_none() {
            table.leaves.push(Leaf { function: 6, ..Leaf::default() });
        }
        table.add("arat");
        table.add("hypervisor");
        if offer.tsc_deadline {
            table.add("tsc-deadline");
        }
        if offer.mwait {
            table.add("monitor");
        }
        // A guest may have these although KVM does not report them.
        let mut offered = table.clone();
        offered.add("kvm-hint-dedicated");
        offered.add("topoext");
        let offered = offered.leaves;
        HYPERCALL_FEATURES.iter().for_each(|name| table.remove(name));
        if let Some(model) = model {
            table.reduce_to(model, &offered, properties);
        }
        if properties.migratable {
            table.remove("invtsc");
        }
        for change in properties.features.iter().filter(|change| !hyperv::is_known(&change.name)) {
            if find(&change.name).is_empty() {
                return Err(format!("unknown CPU feature '{}'", change.name));
            }
            if change.on {
                table.ask(&change.name, &offered);
            } else {
                table.remove(&change.name);
            }
        }
        table.set_phys_bits(properties);
        table.settle(properties, model.is_some());
        table.tsc_is_known = properties.kvm && (properties.tsc_khz.is_some() || table.has("invtsc"));
        if let Some(hyperv) = Hyperv::new(properties, offer.hyperv)? {
            table.add_hyperv(hyperv);
        }
        Ok(table)
    }

    /// Returns warnings about requests that the host cannot fulfil.
    ///
    /// # Errors
    /// With `enforce`: the requested features that the host does not offer.
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

    /// Without a local APIC, and what hangs on it.
    pub fn hide_local_apic(&mut self) {
        ["apic", "x2apic", "tsc-deadline"].into_iter().for_each(|name| self.remove(name));
    }

    /// Returns Hyper-V's interface, empty by default.
    #[must_use]
    pub const fn hyperv(&self) -> &Hyperv {
        &self.hyperv
    }

    /// Returns the guest's number of physical address bits.
    #[must_use]
    pub fn phys_bits(&self) -> u32 {
        self.leaf(ADDRESS_SIZES).map_or(LEGACY_PHYS_BITS, |leaf| leaf.eax & PHYS_BITS)
    }

    /// Returns the CPUID of one vCPU, whose time-stamp counter has this frequency. 0 is an unknown frequency.
    #[must_use]
    pub fn of_vcpu(&self, index: u32, tsc_khz: u32) -> Vec<Leaf> {
        let apic_id = self.topology.apic_id(index);
        let mut leaves = self.leaves.clone();
        if self.tsc_is_known && tsc_khz != 0 {
            if let Some(leaf) = leaves.iter_mut().find(|leaf| leaf.function == KVM_SIGNATURE) {
                leaf.eax = FREQUENCIES;
            }
            leaves.push(Leaf { function: FREQUENCIES, eax: tsc_khz, ebx: APIC_KHZ, ..Leaf::default() });
        }
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

    /// Returns subleaf 0 of a leaf.
    fn leaf(&self, function: u32) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.function == function && leaf.index == 0)
    }

    /// Adds a leaf, or replaces the leaf with the same number.
    fn set(&mut self, leaf: Leaf) {
        self.leaves.retain(|other| (other.function, other.index) != (leaf.function, leaf.index));
        self.leaves.push(leaf);
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

    /// Adds Hyper-V's leaves, and moves KVM's behind them.
    fn add_hyperv(&mut self, hyperv: Hyperv) {
        const DISTANCE: u32 = 0x100;
        for leaf in self.leaves.iter_mut().filter(|leaf| (KVM_SIGNATURE..=KVM_FEATURES).contains(&leaf.function)) {
            if leaf.function == KVM_SIGNATURE {
                leaf.eax = KVM_FEATURES + DISTANCE;
            }
            leaf.function += DISTANCE;
        }
        self.tsc_is_known = false;
        self.leaves.extend(&hyperv.leaves);
        self.hyperv = hyperv;
    }

    /// Sets the vendor, if the properties give one, and copies it to leaf 0x80000000 as AMD's CPUs do.
    fn set_vendor(&mut self, properties: &CpuProperties) {
        let Some(basic) = self.leaf(0) else { return };
        let given = properties.vendor.as_ref().and_then(|name| <&[u8; 12]>::try_from(name.as_bytes()).ok());
        let vendor = given.map_or([basic.ebx, basic.edx, basic.ecx], words);
        self.amd = vendor == words(b"AuthenticAMD") || vendor == words(b"HygonGenuine");
        for leaf in &mut self.leaves {
            if matches!(leaf.function, 0 | 0x8000_0000) {
                [leaf.ebx, leaf.edx, leaf.ecx] = vendor;
            }
        }
    }

    /// Completes the description of the host's CPU: the brand string and the caches, where KVM leaves them zero, and
    /// MWAIT, if the guest may execute it.
    fn describe_host(&mut self, offer: &Offer<'_>) {
        let zero = |leaf: &Leaf| (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) == (0, 0, 0, 0);
        for function in [2, 4, 0x8000_0002, 0x8000_0003, 0x8000_0004, 0x8000_0005, 0x8000_0006, 0x8000_001d] {
            let limit = self.leaf(function & 0x8000_0000).map_or(0, |leaf| leaf.eax);
            if function <= limit && self.leaf(function).is_none_or(zero) {
                self.leaves.retain(|leaf| leaf.function != function);
                self.leaves.extend(offer.instruction.iter().filter(|leaf| leaf.function == function));
            }
        }
        let own = offer.instruction.iter().find(|leaf| leaf.function == MWAIT && offer.mwait).copied();
        let leaf = own.unwrap_or(Leaf { function: MWAIT, ..Leaf::default() });
        self.set(Leaf { ecx: leaf.ecx | MWAIT_EXTENSIONS, ..leaf });
    }

    /// Sets the number of physical address bits, if the properties give one. As in QEMU,
    /// `host_phys_bits` outranks `phys_bits`, and a number other than the host's causes a warning in
    /// either case.
    fn set_phys_bits(&mut self, properties: &CpuProperties) {
        let wanted = u32::from(properties.phys_bits);
        let Some(leaf) = self.leaves.iter_mut().find(|leaf| leaf.function == ADDRESS_SIZES) else { return };
        let host = leaf.eax & PHYS_BITS;
        if wanted != 0 && wanted != host {
            self.host_phys_bits = Some(host);
            if !properties.host_phys_bits {
                leaf.eax = leaf.eax & !PHYS_BITS | wanted;
            }
        }
    }
}

fn offered_word(leaves: &[Leaf], word: &Word) -> u32 {
    let leaf = leaves.iter().find(|leaf| leaf.function == word.function && leaf.index == word.index).copied();
    leaf.map_or(0, |mut leaf| *register_of(&mut leaf, word.register))
}
