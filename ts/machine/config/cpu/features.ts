/** CPU features by QEMU's names. A test compares this list with the accelerator's own list. */
export const cpuFeatures: readonly string[] = `
  3dnow 3dnowext 3dnowprefetch abm acpi adx aes amd-no-ssb amd-psfd amd-ssbd amd-stibp amx-bf16 amx-fp16
  amx-int8 amx-tile apic arat arch-capabilities arch-lbr auto-ibrs avic avx avx-ifma avx-vnni avx2 avx512-4fmaps
  avx512-4vnniw avx512-bf16 avx512-fp16 avx512-vp2intersect avx512-vpopcntdq avx512bitalg avx512bw avx512cd
  avx512dq avx512er avx512f avx512ifma avx512pf avx512vbmi avx512vbmi2 avx512vl avx512vnni bmi1 bmi2
  bus-lock-detect cid cldemote clflush clflushopt clwb clzero cmov cmp-legacy cmpccxadd core-capability
  cr8legacy cx16 cx8 dca de decodeassists ds ds-cpl dtes64 erms est extapic f16c ffxsr flush-l1d flushbyasid fma
  fma4 fpu fsgsbase fsrc fsrm fsrs fxsr fxsr-opt fzrm gfni hle ht hv-avic hv-crash hv-enforce-cpuid
  hv-frequencies hv-ipi hv-passthrough hv-reenlightenment hv-relaxed hv-reset hv-runtime hv-stimer
  hv-stimer-direct hv-synic hv-time hv-tlbflush hv-tlbflush-ext hv-vapic hv-vpindex hv-xmm-input hypervisor i64
  ia64 ibpb ibrs ibs intel-pt invpcid invtsc kvm-asyncpf kvm-asyncpf-int kvm-hint-dedicated kvm-mmu
  kvm-msi-ext-dest-id kvm-nopiodelay kvm-poll-control kvm-pv-eoi kvm-pv-ipi kvm-pv-sched-yield kvm-pv-tlb-flush
  kvm-pv-unhalt kvm-steal-time kvmclock kvmclock-stable-bit la57 lahf-lm lam lbrv lfence-always-serializing lm
  lwp mca mce md-clear misalignsse mmx mmxext monitor movbe movdir64b movdiri mp mpx msr mtrr no-nested-data-bp
  nodeid-msr npt nrip-save null-sel-clr-base nx osvw pae pat pause-filter pbe pcid pclmuldq pclmulqdq pcommit
  pdcm pdpe1gb perfctr-core perfctr-nb pfthreshold pge pks pku pn pni popcnt pse pse36 rdpid rdrand rdseed
  rdtscp rtm sep serialize sgx sgxlc sha-ni skinit smap smep smx spec-ctrl ss ssbd sse sse2 sse3 sse4-1 sse4-2
  sse4.1 sse4.2 sse4a ssse3 stibp stibp-always-on svm svm-lock svme-addr-chk syscall tbm tce tm tm2 topoext tsc
  tsc-adjust tsc-deadline tsc-scale tsx-ldtrk umip v-vmsave-vmload vaes vgif virt-ssbd vmcb-clean vme vmx
  vpclmulqdq waitpkg wbnoinvd wdt x2apic xd xfd xgetbv1 xop xsave xsavec xsaveerptr xsaveopt xsaves xtpr
`
  .trim()
  .split(/\s+/)
