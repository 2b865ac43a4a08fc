//! Reduces the host's leaves to a CPU model.

use super::super::features::WORDS;
use super::super::models::Model;
use super::{CpuProperties, KVM_FEATURES, KVM_SIGNATURE, MWAIT, Table, caches};
use kvm_accel_kvm::fd::Leaf;

/// The features that QEMU adds to every model under KVM. It adds no other feature of KVM's.
const ADDED: &[&str] = &[
    "x2apic",
    "hypervisor",
    "kvmclock",
    "kvm-nopiodelay",
    "kvm-asyncpf",
    "kvm-steal-time",
    "kvm-pv-eoi",
    "kvmclock-stable-bit",
];
/// The length of a brand string, which fills three leaves.
const BRAND: usize = 48;

impl Table {
    /// Reduces the host's leaves to the features of `model`, as far as the host offers them.
    pub(super) fn reduce_to(&mut self, model: &Model, offered: &[Leaf], properties: &CpuProperties) {
        let (level, xlevel) = model.levels;
        self.leaves.retain(|leaf| match leaf.function {
            7 => leaf.index < 2,
            0..=1 | MWAIT..=6 | 0xb | 0xd | 0x1d..=0x1f => leaf.function <= level.max(0xb),
            KVM_SIGNATURE..=KVM_FEATURES | 0x8000_0000..=0x8000_0001 | 0x8000_0007..=0x8000_0008 => true,
            0x8000_000a | 0x8000_001e | 0x8000_0021 => leaf.function <= xlevel,
            _ => false,
        });
        let name = model.names.first().copied().unwrap_or_default();
        let limit = |leaf: &Leaf| leaf.function <= if leaf.function >= 0x8000_0000 { xlevel } else { level };
        self.leaves.extend(caches::leaves(name, self.amd).into_iter().filter(limit));
        self.describe(model);
        for word in WORDS {
            if let Some(value) = self.word(word) {
                *value = 0;
            }
        }
        let removed = |name: &&str| {
            properties.features.iter().any(|change| !change.on && change.name.replace('_', "-") == **name)
        };
        for name in model.features().iter().chain(ADDED).filter(|name| !removed(name)) {
            self.ask(name, offered);
        }
    }

    /// Sets the family, the last leaves and the brand string.
    fn describe(&mut self, model: &Model) {
        let (level, xlevel) = model.levels;
        let (family, number, stepping) = model.signature;
        let signature =
            stepping | (number & 0xf) << 4 | number >> 4 << 16 | family.min(15) << 8 | family.saturating_sub(15) << 20;
        for leaf in &mut self.leaves {
            match leaf.function {
                0 => leaf.eax = level,
                1 | 0x8000_0001 => leaf.eax = signature,
                // Only feature bits.
                6 | 0x8000_0007 => (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0, 0),
                7 if leaf.index != 0 => (leaf.ebx, leaf.ecx, leaf.edx) = (0, 0, 0),
                0x8000_0000 => leaf.eax = xlevel,
                _ => {}
            }
        }
        let mut brand = [0; BRAND];
        brand.iter_mut().zip(model.id.bytes()).for_each(|(byte, character)| *byte = character);
        let words = brand.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
        for (function, registers) in (0x8000_0002..).zip(words.as_chunks::<4>().0) {
            let [eax, ebx, ecx, edx] = *registers;
            self.set(Leaf { function, eax, ebx, ecx, edx, ..Leaf::default() });
        }
    }
}
