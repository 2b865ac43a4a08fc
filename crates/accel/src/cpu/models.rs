//! QEMU's CPU models as feature sets. A guest gets those features of a model that the host has.

/// One version of a model. The vendor is the host's by default, as in QEMU, because
/// system calls differ by vendor.
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    /// The model's names in `-cpu`.
    pub names: &'static [&'static str],
    /// Family, model and stepping.
    pub signature: (u32, u32, u32),
    /// The last basic leaf, and the last extended one.
    pub levels: (u32, u32),
    /// The brand string.
    pub id: &'static str,
    extends: Option<&'static str>,
    /// The features that the model adds to `extends`. A `-` marks those that it removes.
    changes: &'static str,
}

impl Model {
    /// Returns the model's features, by name.
    #[must_use]
    pub fn features(&self) -> Vec<&'static str> {
        let mut features = self.extends.and_then(find).map(Self::features).unwrap_or_default();
        for change in self.changes.split_ascii_whitespace() {
            match change.strip_prefix('-') {
                Some(gone) => features.retain(|feature| *feature != gone),
                None => features.push(change),
            }
        }
        features
    }
}

/// Returns the model with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.names.contains(&name))
}

type Names = &'static [&'static str];

const fn model(
    names: Names,
    signature: (u32, u32, u32),
    levels: (u32, u32),
    id: &'static str,
    extends: Option<&'static str>,
    changes: &'static str,
) -> Model {
    Model { names, signature, levels, id, extends, changes }
}

/// Each row may only extend a row above it.
#[rustfmt::skip]
pub const MODELS: &[Model] = &[
    model(&["qemu64", "qemu64-v1"], (15, 107, 1), (0xd, 0x8000_000a), "QEMU Virtual CPU version 2.5+", None,
          "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni cx16 \
           syscall nx lm lahf-lm"),
    model(&["kvm64", "kvm64-v1"], (15, 6, 1), (0xd, 0x8000_0008), "Common KVM processor", None,
          "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni cx16 \
           syscall nx lm"),
    model(&["Nehalem", "Nehalem-v1"], (6, 26, 3), (0xb, 0x8000_0008), "Intel Core i7 9xx (Nehalem Class Core i7)", None,
          "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni ssse3 \
           cx16 sse4.1 sse4.2 popcnt syscall nx lm lahf-lm"),
    model(&["Nehalem-IBRS", "Nehalem-v2"], (6, 26, 3), (0xb, 0x8000_0008), "Intel Core i7 9xx (Nehalem Core i7, IBRS update)", Some("Nehalem-v1"),
          "spec-ctrl"),
    model(&["Westmere", "Westmere-v1"], (6, 44, 1), (0xb, 0x8000_0008), "Westmere E56xx/L56xx/X56xx (Nehalem-C)", Some("Nehalem-v1"),
          "pclmulqdq aes arat"),
    model(&["Westmere-IBRS", "Westmere-v2"], (6, 44, 1), (0xb, 0x8000_0008), "Westmere E56xx/L56xx/X56xx (IBRS update)", Some("Westmere-v1"),
          "spec-ctrl"),
    model(&["SandyBridge", "SandyBridge-v1"], (6, 42, 1), (0xd, 0x8000_0008), "Intel Xeon E312xx (Sandy Bridge)", Some("Westmere-v1"),
          "tsc-deadline xsave avx xsaveopt rdtscp"),
    model(&["SandyBridge-IBRS", "SandyBridge-v2"], (6, 42, 1), (0xd, 0x8000_0008), "Intel Xeon E312xx (Sandy Bridge, IBRS update)", Some("SandyBridge-v1"),
          "spec-ctrl"),
    model(&["IvyBridge", "IvyBridge-v1"], (6, 58, 9), (0xd, 0x8000_0008), "Intel Xeon E3-12xx v2 (Ivy Bridge)", Some("SandyBridge-v1"),
          "f16c rdrand fsgsbase smep erms"),
    model(&["IvyBridge-IBRS", "IvyBridge-v2"], (6, 58, 9), (0xd, 0x8000_0008), "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)", Some("IvyBridge-v1"),
          "spec-ctrl"),
    model(&["Haswell", "Haswell-v1"], (6, 60, 4), (0xd, 0x8000_0008), "Intel Core Processor (Haswell)", Some("IvyBridge-v1"),
          "fma pcid movbe bmi1 hle avx2 bmi2 invpcid rtm abm"),
    model(&["Haswell-noTSX", "Haswell-v2"], (6, 60, 1), (0xd, 0x8000_0008), "Intel Core Processor (Haswell, no TSX)", Some("Haswell-v1"),
          "-hle -rtm"),
    model(&["Haswell-IBRS", "Haswell-v3"], (6, 60, 4), (0xd, 0x8000_0008), "Intel Core Processor (Haswell, IBRS)", Some("Haswell-v2"),
          "hle rtm spec-ctrl"),
    model(&["Haswell-noTSX-IBRS", "Haswell-v4"], (6, 60, 1), (0xd, 0x8000_0008), "Intel Core Processor (Haswell, no TSX, IBRS)", Some("Haswell-v3"),
          "-hle -rtm"),
    model(&["Broadwell", "Broadwell-v1"], (6, 61, 2), (0xd, 0x8000_0008), "Intel Core Processor (Broadwell)", Some("Haswell-v1"),
          "rdseed adx smap 3dnowprefetch"),
    model(&["Broadwell-noTSX", "Broadwell-v2"], (6, 61, 2), (0xd, 0x8000_0008), "Intel Core Processor (Broadwell, no TSX)", Some("Broadwell-v1"),
          "-hle -rtm"),
    model(&["Broadwell-IBRS", "Broadwell-v3"], (6, 61, 2), (0xd, 0x8000_0008), "Intel Core Processor (Broadwell, IBRS)", Some("Broadwell-v2"),
          "hle rtm spec-ctrl"),
    model(&["Broadwell-noTSX-IBRS", "Broadwell-v4"], (6, 61, 2), (0xd, 0x8000_0008), "Intel Core Processor (Broadwell, no TSX, IBRS)", Some("Broadwell-v3"),
          "-hle -rtm"),
    model(&["Skylake-Client", "Skylake-Client-v1"], (6, 94, 3), (0xd, 0x8000_0008), "Intel Core Processor (Skylake)", Some("Broadwell-v1"),
          "xsavec xgetbv1"),
    model(&["Skylake-Client-IBRS", "Skylake-Client-v2"], (6, 94, 3), (0xd, 0x8000_0008), "Intel Core Processor (Skylake, IBRS)", Some("Skylake-Client-v1"),
          "spec-ctrl"),
    model(&["Skylake-Client-noTSX-IBRS", "Skylake-Client-v3"], (6, 94, 3), (0xd, 0x8000_0008), "Intel Core Processor (Skylake, IBRS, no TSX)", Some("Skylake-Client-v2"),
          "-hle -rtm"),
    model(&["Skylake-Client-v4"], (6, 94, 3), (0xd, 0x8000_0008), "Intel Core Processor (Skylake, IBRS, no TSX)", Some("Skylake-Client-v3"),
          "xsaves"),
    model(&["Skylake-Server", "Skylake-Server-v1"], (6, 85, 4), (0xd, 0x8000_0008), "Intel Xeon Processor (Skylake)", Some("Skylake-Client-v1"),
          "avx512f avx512dq clflushopt clwb avx512cd avx512bw avx512vl pku pdpe1gb"),
    model(&["Skylake-Server-IBRS", "Skylake-Server-v2"], (6, 85, 4), (0xd, 0x8000_0008), "Intel Xeon Processor (Skylake, IBRS)", Some("Skylake-Server-v1"),
          "spec-ctrl -clflushopt"),
    model(&["Skylake-Server-noTSX-IBRS", "Skylake-Server-v3"], (6, 85, 4), (0xd, 0x8000_0008), "Intel Xeon Processor (Skylake, IBRS, no TSX)", Some("Skylake-Server-v2"),
          "-hle -rtm"),
    model(&["Skylake-Server-v4"], (6, 85, 4), (0xd, 0x8000_0008), "Intel Xeon Processor (Skylake, IBRS, no TSX)", Some("Skylake-Server-v3"),
          ""),
    model(&["Skylake-Server-v5"], (6, 85, 4), (0xd, 0x8000_0008), "Intel Xeon Processor (Skylake, IBRS, no TSX)", Some("Skylake-Server-v4"),
          "xsaves"),
    model(&["Cascadelake-Server", "Cascadelake-Server-v1"], (6, 85, 6), (0xd, 0x8000_0008), "Intel Xeon Processor (Cascadelake)", Some("Skylake-Server-v1"),
          "avx512vnni spec-ctrl ssbd"),
    model(&["Cascadelake-Server-v2"], (6, 85, 6), (0xd, 0x8000_0008), "Intel Xeon Processor (Cascadelake)", Some("Cascadelake-Server-v1"),
          "arch-capabilities"),
    model(&["Cascadelake-Server-noTSX", "Cascadelake-Server-v3"], (6, 85, 6), (0xd, 0x8000_0008), "Intel Xeon Processor (Cascadelake)", Some("Cascadelake-Server-v2"),
          "-hle -rtm"),
    model(&["Cascadelake-Server-v4"], (6, 85, 6), (0xd, 0x8000_0008), "Intel Xeon Processor (Cascadelake)", Some("Cascadelake-Server-v3"),
          ""),
    model(&["Cascadelake-Server-v5"], (6, 85, 6), (0xd, 0x8000_0008), "Intel Xeon Processor (Cascadelake)", Some("Cascadelake-Server-v4"),
          "xsaves"),
    model(&["Icelake-Server", "Icelake-Server-v1"], (6, 134, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Cascadelake-Server-v1"),
          "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512bitalg avx512-vpopcntdq la57 wbnoinvd"),
    model(&["Icelake-Server-noTSX", "Icelake-Server-v2"], (6, 134, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Icelake-Server-v1"),
          "-hle -rtm"),
    model(&["Icelake-Server-v3"], (6, 134, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Icelake-Server-v2"),
          "arch-capabilities"),
    model(&["Icelake-Server-v4"], (6, 106, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Icelake-Server-v3"),
          "avx512ifma sha-ni rdpid fsrm"),
    model(&["Icelake-Server-v5"], (6, 106, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Icelake-Server-v4"),
          "xsaves"),
    model(&["Icelake-Server-v6"], (6, 106, 0), (0xd, 0x8000_0008), "Intel Xeon Processor (Icelake)", Some("Icelake-Server-v5"),
          ""),
    model(&["SapphireRapids", "SapphireRapids-v1"], (6, 143, 4), (0x20, 0x8000_0008), "Intel Xeon Processor (SapphireRapids)", Some("Icelake-Server-v6"),
          "-hle -rtm fsrm bus-lock-detect serialize tsx-ldtrk amx-bf16 avx512-fp16 amx-tile amx-int8 stibp avx-vnni \
           avx512-bf16 fzrm fsrs fsrc xsaves xfd wbnoinvd"),
    model(&["EPYC", "EPYC-v1"], (23, 1, 2), (0xd, 0x8000_001e), "AMD EPYC Processor", None,
          "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni \
           pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand fsgsbase bmi1 avx2 smep \
           bmi2 rdseed adx smap clflushopt sha-ni arat xsaveopt xsavec xgetbv1 syscall nx mmxext fxsr-opt pdpe1gb \
           rdtscp lm lahf-lm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext"),
    model(&["EPYC-IBPB", "EPYC-v2"], (23, 1, 2), (0xd, 0x8000_001e), "AMD EPYC Processor (with IBPB)", Some("EPYC-v1"),
          "ibpb"),
    model(&["EPYC-v3"], (23, 1, 2), (0xd, 0x8000_001e), "AMD EPYC Processor", Some("EPYC-v2"),
          "xsaves perfctr-core clzero xsaveerptr"),
    model(&["EPYC-Rome", "EPYC-Rome-v1"], (23, 49, 0), (0xd, 0x8000_001e), "AMD EPYC-Rome Processor", Some("EPYC-v1"),
          "clwb umip rdpid xsaves perfctr-core clzero xsaveerptr wbnoinvd ibpb amd-stibp"),
    model(&["EPYC-Rome-v2"], (23, 49, 0), (0xd, 0x8000_001e), "AMD EPYC-Rome Processor", Some("EPYC-Rome-v1"),
          "ibrs amd-ssbd"),
    model(&["EPYC-Milan", "EPYC-Milan-v1"], (25, 1, 1), (0xd, 0x8000_001e), "AMD EPYC-Milan Processor", Some("EPYC-Rome-v1"),
          "pcid erms invpcid pku fsrm ibrs amd-ssbd"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::features;

    #[test]
    fn test_rows_extend_rows_above_and_name_features() {
        for (at, model) in MODELS.iter().enumerate() {
            if let Some(base) = model.extends {
                assert!(MODELS.iter().take(at).any(|above| above.names.contains(&base)), "{base}");
            }
            for feature in model.features() {
                assert!(!features::find(feature).is_empty(), "{:?}: {feature}", model.names);
            }
            assert!(model.id.len() <= 48);
        }
    }

    #[test]
    fn test_versions_take_features_away_and_give_them_back() {
        let has = |name, feature| find(name).unwrap().features().contains(&feature);
        assert!(has("Haswell", "rtm") && !has("Haswell-noTSX", "rtm") && has("Haswell-IBRS", "rtm"));
        assert!(has("Haswell-v4", "spec-ctrl") && !has("Haswell-v4", "hle"));
        assert!(has("Icelake-Server", "avx512f") && !has("Nehalem", "avx"));
        assert!(find("Haswell-v9").is_none());
    }
}
