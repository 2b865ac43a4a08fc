//! CPUID features by QEMU's names: the leaf, register and bit of each.

use kvm_accel_kvm::fd::Leaf;

/// A register of a CPUID leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

impl Register {
    /// Returns this register of a leaf.
    #[must_use]
    pub const fn of(self, leaf: &Leaf) -> u32 {
        match self {
            Self::Eax => leaf.eax,
            Self::Ebx => leaf.ebx,
            Self::Ecx => leaf.ecx,
            Self::Edx => leaf.edx,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Eax => "EAX",
            Self::Ebx => "EBX",
            Self::Ecx => "ECX",
            Self::Edx => "EDX",
        }
    }
}

/// One register of feature bits.
#[derive(Debug)]
pub struct Word {
    /// The leaf.
    pub function: u32,
    /// The subleaf.
    pub index: u32,
    /// The register.
    pub register: Register,
    /// Names from bit 0 on. `-` marks a bit without a name.
    names: &'static str,
}

impl Word {
    /// Returns the named bits.
    pub fn bits(&self) -> impl Iterator<Item = (u32, &'static str)> + use<> {
        (0..).zip(self.names.split_ascii_whitespace()).filter(|(_, name)| *name != "-")
    }

    /// Returns the mask of the bits with this name; kvmclock has two.
    fn mask(&self, name: &str) -> u32 {
        self.bits().filter(|(_, known)| *known == name).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// Formats a bit as QEMU's warnings do: `CPUID.07H:EBX.avx2 [bit 5]`.
    #[must_use]
    pub fn describe(&self, bit: u32, name: &str) -> String {
        let subleaf = if self.index == 0 { String::new() } else { format!("_{}", self.index) };
        format!("CPUID.{:02X}H{subleaf}:{}.{name} [bit {bit}]", self.function, self.register.name())
    }
}

/// Every word, in the order in which messages name their bits.
pub const WORDS: &[Word] = &[
    Word {
        function: 1,
        index: 0,
        register: Register::Edx,
        names: "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx \
                fxsr sse sse2 ss ht tm ia64 pbe",
    },
    Word {
        function: 1,
        index: 0,
        register: Register::Ecx,
        names: "pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca sse4.1 \
                sse4.2 x2apic movbe popcnt tsc-deadline aes xsave - avx f16c rdrand hypervisor",
    },
    Word {
        function: 7,
        index: 0,
        register: Register::Ebx,
        names: "fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq rdseed \
                adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl",
    },
    Word {
        function: 7,
        index: 0,
        register: Register::Ecx,
        names: "- avx512vbmi umip pku - waitpkg avx512vbmi2 - gfni vaes vpclmulqdq avx512vnni avx512bitalg - \
                avx512-vpopcntdq - la57 - - - - - rdpid - bus-lock-detect cldemote - movdiri movdir64b - sgxlc pks",
    },
    Word {
        function: 7,
        index: 0,
        register: Register::Edx,
        names: "- - avx512-4vnniw avx512-4fmaps fsrm - - - avx512-vp2intersect - md-clear - - - serialize - tsx-ldtrk \
                - - arch-lbr - - amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d arch-capabilities \
                core-capability ssbd",
    },
    Word {
        function: 7,
        index: 1,
        register: Register::Eax,
        names: "- - - - avx-vnni avx512-bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx-fp16 - avx-ifma - - lam",
    },
    Word { function: 6, index: 0, register: Register::Eax, names: "- - arat" },
    Word { function: 0xd, index: 1, register: Register::Eax, names: "xsaveopt xsavec xgetbv1 xsaves xfd" },
    Word {
        function: 0x8000_0001,
        index: 0,
        register: Register::Edx,
        names: "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr-opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    },
    Word {
        function: 0x8000_0001,
        index: 0,
        register: Register::Ecx,
        names: "lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - \
                lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb",
    },
    Word { function: 0x8000_0007, index: 0, register: Register::Edx, names: "- - - - - - - - invtsc" },
    Word {
        function: 0x8000_0008,
        index: 0,
        register: Register::Ebx,
        names: "clzero - xsaveerptr - - - - - - wbnoinvd - - ibpb - ibrs amd-stibp - stibp-always-on - - - - - - \
                amd-ssbd virt-ssbd amd-no-ssb - amd-psfd",
    },
    Word {
        function: 0x8000_000a,
        index: 0,
        register: Register::Edx,
        names: "npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists - - pause-filter - \
                pfthreshold avic - v-vmsave-vmload vgif - - - - - - - - - - - svme-addr-chk",
    },
    Word {
        function: 0x8000_0021,
        index: 0,
        register: Register::Eax,
        names: "no-nested-data-bp - lfence-always-serializing - - - null-sel-clr-base - auto-ibrs",
    },
    Word {
        function: super::cpuid::KVM_FEATURES,
        index: 0,
        register: Register::Eax,
        names: "kvmclock kvm-nopiodelay kvm-mmu kvmclock kvm-asyncpf kvm-steal-time kvm-pv-eoi kvm-pv-unhalt - \
                kvm-pv-tlb-flush - kvm-pv-ipi kvm-poll-control kvm-pv-sched-yield kvm-asyncpf-int kvm-msi-ext-dest-id \
                - - - - - - - - kvmclock-stable-bit",
    },
    Word { function: super::cpuid::KVM_FEATURES, index: 0, register: Register::Edx, names: "kvm-hint-dedicated" },
];

/// QEMU's aliases.
const ALIASES: &[(&str, &str)] = &[
    ("sse3", "pni"),
    ("pclmuldq", "pclmulqdq"),
    ("sse4-1", "sse4.1"),
    ("sse4-2", "sse4.2"),
    ("xd", "nx"),
    ("i64", "lm"),
    ("ffxsr", "fxsr-opt"),
];

/// Dependencies between features: without the first, the CPU lacks the rest.
pub const NEEDED_BY: &[(&str, &str)] = &[
    ("xsave", "avx xsaveopt xsavec xgetbv1 xsaves xfd mpx pku"),
    ("avx", "avx2 f16c fma fma4 xop avx512f vaes vpclmulqdq avx-vnni avx-ifma"),
    (
        "avx512f",
        "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi avx512vbmi2 avx512vnni \
         avx512bitalg avx512-vpopcntdq avx512-4vnniw avx512-4fmaps avx512-vp2intersect avx512-fp16 avx512-bf16",
    ),
    ("xfd", "amx-tile"),
    ("amx-tile", "amx-bf16 amx-int8 amx-fp16"),
    ("svm", "npt lbrv nrip-save tsc-scale vmcb-clean flushbyasid decodeassists pause-filter pfthreshold"),
];

/// Returns the words and bits of a feature. Empty for an unknown name. `_` and `-` are equivalent, as in QEMU.
#[must_use]
pub fn find(name: &str) -> Vec<(&'static Word, u32)> {
    let dashed = name.replace('_', "-");
    let name = ALIASES.iter().find(|(alias, _)| *alias == dashed).map_or(dashed.as_str(), |(_, name)| name);
    WORDS.iter().map(|word| (word, word.mask(name))).filter(|(_, mask)| *mask != 0).collect()
}

/// Returns every name, including aliases, in order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = WORDS.iter().flat_map(|word| word.bits().map(|(_, name)| name)).collect();
    names.extend(ALIASES.iter().map(|(alias, _)| alias));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_words_have_the_bits_of_the_manuals() {
        for (name, function, index, register, bit) in [
            ("pbe", 1, 0, Register::Edx, 31),
            ("hypervisor", 1, 0, Register::Ecx, 31),
            ("avx512vl", 7, 0, Register::Ebx, 31),
            ("pks", 7, 0, Register::Ecx, 31),
            ("rdpid", 7, 0, Register::Ecx, 22),
            ("ssbd", 7, 0, Register::Edx, 31),
            ("avx512-fp16", 7, 0, Register::Edx, 23),
            ("lam", 7, 1, Register::Eax, 26),
            ("3dnow", 0x8000_0001, 0, Register::Edx, 31),
            ("perfctr-nb", 0x8000_0001, 0, Register::Ecx, 24),
            ("invtsc", 0x8000_0007, 0, Register::Edx, 8),
            ("amd-psfd", 0x8000_0008, 0, Register::Ebx, 28),
            ("svme-addr-chk", 0x8000_000a, 0, Register::Edx, 28),
            ("auto-ibrs", 0x8000_0021, 0, Register::Eax, 8),
            ("kvmclock-stable-bit", 0x4000_0001, 0, Register::Eax, 24),
        ] {
            let found = find(name);
            let [(word, mask)] = found.as_slice() else { panic!("{name}") };
            assert_eq!(
                (word.function, word.index, word.register, *mask),
                (function, index, register, 1 << bit),
                "{name}"
            );
        }
    }

    #[test]
    fn test_second_names_and_unknown_ones() {
        assert_eq!(find("sse4_1")[0].1, 1 << 19);
        assert_eq!(find("sse3")[0].1, 1);
        assert_eq!(find("kvmclock")[0].1, 0b1001);
        assert!(find("avx3").is_empty() && find("-").is_empty() && find("").is_empty());
    }

    #[test]
    fn test_every_named_dependency_is_a_feature() {
        for (needed, by) in NEEDED_BY {
            for name in by.split_ascii_whitespace().chain([*needed]) {
                assert!(!find(name).is_empty(), "{name}");
            }
        }
    }
}
