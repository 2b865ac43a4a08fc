//! The trace events of ioctls. The result of every ioctl passes through `failed()` of `error.rs`, which emits one event
//! after the call has returned. KVM_RUN can take long, so its event is emitted before the call.

use crate::trace::{current_vcpu, trace};

/// The kind of fd on which an ioctl is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fd {
    System,
    Vm,
    Vcpu,
}

/// Emits the event of an ioctl, for the vCPU `vcpu` if it is a vCPU ioctl. Other calls (`mmap`, `sigaction`) have no
/// event.
#[inline]
pub fn called(ioctl: &'static str, vcpu: Option<u32>) {
    use crate::trace::{TraceKind, enabled};
    if [TraceKind::KvmIoctl, TraceKind::KvmVmIoctl, TraceKind::KvmVcpuIoctl].into_iter().any(enabled) {
        emit_call(ioctl, vcpu);
    }
}

#[cold]
fn emit_call(ioctl: &'static str, vcpu: Option<u32>) {
    let Some((number, _, fd)) = IOCTLS.iter().find(|(_, name, _)| *name == ioctl) else { return };
    let number = *number;
    match vcpu.map_or(*fd, |_| Fd::Vcpu) {
        Fd::System => trace!(KvmIoctl { number, name: ioctl.into() }),
        Fd::Vm => trace!(KvmVmIoctl { number, name: ioctl.into() }),
        Fd::Vcpu => trace!(KvmVcpuIoctl {
            cpu_index: vcpu.or_else(current_vcpu).unwrap_or(u32::MAX),
            number,
            name: ioctl.into()
        }),
    }
}

/// KVM_RUN's number.
pub const KVM_RUN: u32 = 0xae80;

/// x86-64 numbers. If several kinds of fd have an ioctl, the entry is for the one that is not a vCPU's; a vCPU passes
/// its own id.
const IOCTLS: &[(u32, &str, Fd)] = &[
    (0xae00, "KVM_GET_API_VERSION", Fd::System),
    (0xae01, "KVM_CREATE_VM", Fd::System),
    (0xc004_ae02, "KVM_GET_MSR_INDEX_LIST", Fd::System),
    (0xae03, "KVM_CHECK_EXTENSION", Fd::System),
    (0xae04, "KVM_GET_VCPU_MMAP_SIZE", Fd::System),
    (0xc008_ae05, "KVM_GET_SUPPORTED_CPUID", Fd::System),
    (0xc008_aec1, "KVM_GET_SUPPORTED_HV_CPUID", Fd::System),
    (0xc008_ae09, "KVM_GET_EMULATED_CPUID", Fd::System),
    (0xc004_ae0a, "KVM_GET_MSR_FEATURE_INDEX_LIST", Fd::System),
    (0xae41, "KVM_CREATE_VCPU", Fd::Vm),
    (0x4010_ae42, "KVM_GET_DIRTY_LOG", Fd::Vm),
    (0xae44, "KVM_SET_NR_MMU_PAGES", Fd::Vm),
    (0x4020_ae46, "KVM_SET_USER_MEMORY_REGION", Fd::Vm),
    (0xae47, "KVM_SET_TSS_ADDR", Fd::Vm),
    (0x4008_ae48, "KVM_SET_IDENTITY_MAP_ADDR", Fd::Vm),
    (0x40a0_ae49, "KVM_SET_USER_MEMORY_REGION2", Fd::Vm),
    (0xae60, "KVM_CREATE_IRQCHIP", Fd::Vm),
    (0x4008_ae61, "KVM_IRQ_LINE", Fd::Vm),
    (0xc208_ae62, "KVM_GET_IRQCHIP", Fd::Vm),
    (0x8208_ae63, "KVM_SET_IRQCHIP", Fd::Vm),
    (0xc008_ae67, "KVM_IRQ_LINE_STATUS", Fd::Vm),
    (0x4010_ae67, "KVM_REGISTER_COALESCED_MMIO", Fd::Vm),
    (0x4010_ae68, "KVM_UNREGISTER_COALESCED_MMIO", Fd::Vm),
    (0x4008_ae6a, "KVM_SET_GSI_ROUTING", Fd::Vm),
    (0xae71, "KVM_REINJECT_CONTROL", Fd::Vm),
    (0x4020_ae76, "KVM_IRQFD", Fd::Vm),
    (0x4040_ae77, "KVM_CREATE_PIT2", Fd::Vm),
    (0xae78, "KVM_SET_BOOT_CPU_ID", Fd::Vm),
    (0x4040_ae79, "KVM_IOEVENTFD", Fd::Vm),
    (0x4030_ae7b, "KVM_SET_CLOCK", Fd::Vm),
    (0x8030_ae7c, "KVM_GET_CLOCK", Fd::Vm),
    (0xae80, "KVM_RUN", Fd::Vcpu),
    (0x8090_ae81, "KVM_GET_REGS", Fd::Vcpu),
    (0x4090_ae82, "KVM_SET_REGS", Fd::Vcpu),
    (0x8138_ae83, "KVM_GET_SREGS", Fd::Vcpu),
    (0x4138_ae84, "KVM_SET_SREGS", Fd::Vcpu),
    (0xc018_ae85, "KVM_TRANSLATE", Fd::Vcpu),
    (0x4004_ae86, "KVM_INTERRUPT", Fd::Vcpu),
    (0xc008_ae88, "KVM_GET_MSRS", Fd::Vcpu),
    (0x4008_ae89, "KVM_SET_MSRS", Fd::Vcpu),
    (0x4004_ae8b, "KVM_SET_SIGNAL_MASK", Fd::Vcpu),
    (0x81a0_ae8c, "KVM_GET_FPU", Fd::Vcpu),
    (0x41a0_ae8d, "KVM_SET_FPU", Fd::Vcpu),
    (0x8400_ae8e, "KVM_GET_LAPIC", Fd::Vcpu),
    (0x4400_ae8f, "KVM_SET_LAPIC", Fd::Vcpu),
    (0x4008_ae90, "KVM_SET_CPUID2", Fd::Vcpu),
    (0xc008_ae91, "KVM_GET_CPUID2", Fd::Vcpu),
    (0xc028_ae92, "KVM_TPR_ACCESS_REPORTING", Fd::Vcpu),
    (0x4008_ae93, "KVM_SET_VAPIC_ADDR", Fd::Vcpu),
    (0x8004_ae98, "KVM_GET_MP_STATE", Fd::Vcpu),
    (0x4004_ae99, "KVM_SET_MP_STATE", Fd::Vcpu),
    (0xae9a, "KVM_NMI", Fd::Vcpu),
    (0x4048_ae9b, "KVM_SET_GUEST_DEBUG", Fd::Vcpu),
    (0x4008_ae9c, "KVM_X86_SETUP_MCE", Fd::Vcpu),
    (0x8008_ae9d, "KVM_X86_GET_MCE_CAP_SUPPORTED", Fd::System),
    (0x4040_ae9e, "KVM_X86_SET_MCE", Fd::Vcpu),
    (0x8040_ae9f, "KVM_GET_VCPU_EVENTS", Fd::Vcpu),
    (0x8070_ae9f, "KVM_GET_PIT2", Fd::Vm),
    (0x4040_aea0, "KVM_SET_VCPU_EVENTS", Fd::Vcpu),
    (0x4070_aea0, "KVM_SET_PIT2", Fd::Vm),
    (0x8080_aea1, "KVM_GET_DEBUGREGS", Fd::Vcpu),
    (0x4080_aea2, "KVM_SET_DEBUGREGS", Fd::Vcpu),
    (0xaea2, "KVM_SET_TSC_KHZ", Fd::Vcpu),
    (0x4068_aea3, "KVM_ENABLE_CAP", Fd::Vm),
    (0xaea3, "KVM_GET_TSC_KHZ", Fd::Vcpu),
    (0x9000_aea4, "KVM_GET_XSAVE", Fd::Vcpu),
    (0x5000_aea5, "KVM_SET_XSAVE", Fd::Vcpu),
    (0x4020_aea5, "KVM_SIGNAL_MSI", Fd::Vm),
    (0x8188_aea6, "KVM_GET_XCRS", Fd::Vcpu),
    (0x4188_aea7, "KVM_SET_XCRS", Fd::Vcpu),
    (0xaead, "KVM_KVMCLOCK_CTRL", Fd::Vcpu),
    (0xaeb7, "KVM_SMI", Fd::Vcpu),
    (0xc080_aebe, "KVM_GET_NESTED_STATE", Fd::Vcpu),
    (0x4080_aebf, "KVM_SET_NESTED_STATE", Fd::Vcpu),
    (0xc018_aec0, "KVM_CLEAR_DIRTY_LOG", Fd::Vm),
    (0x4188_aec6, "KVM_X86_SET_MSR_FILTER", Fd::Vm),
    (0xaec7, "KVM_RESET_DIRTY_RINGS", Fd::Vm),
    (0x8140_aecc, "KVM_GET_SREGS2", Fd::Vcpu),
    (0x4140_aecd, "KVM_SET_SREGS2", Fd::Vcpu),
    (0xaece, "KVM_GET_STATS_FD", Fd::Vm),
    (0x9000_aecf, "KVM_GET_XSAVE2", Fd::Vcpu),
    (0x4020_aed2, "KVM_SET_MEMORY_ATTRIBUTES", Fd::Vm),
    (0xc040_aed4, "KVM_CREATE_GUEST_MEMFD", Fd::Vm),
    (0xc00c_aee0, "KVM_CREATE_DEVICE", Fd::Vm),
    (0x4018_aee1, "KVM_SET_DEVICE_ATTR", Fd::Vm),
    (0x4018_aee2, "KVM_GET_DEVICE_ATTR", Fd::Vm),
    (0x4018_aee3, "KVM_HAS_DEVICE_ATTR", Fd::Vm),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn names_in(folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                names_in(&entry, names);
            } else {
                let text = fs::read_to_string(entry).unwrap();
                names.extend(
                    text.split("failed(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
                );
            }
        }
    }

    #[test]
    fn test_every_ioctl_of_this_crate_is_in_the_table() {
        let mut names = Vec::new();
        names_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
        names.retain(|name| name.starts_with("KVM_"));
        assert!(names.len() > 20);
        for name in names {
            assert!(IOCTLS.iter().any(|(_, known, _)| *known == name), "{name} is not in the table");
        }
    }

    #[test]
    fn test_numbers_and_names_are_there_once() {
        for (index, (number, name, _)) in IOCTLS.iter().enumerate() {
            assert_eq!(number >> 8 & 0xff, 0xae, "{name}");
            assert!(IOCTLS.iter().skip(index + 1).all(|(n, other, _)| n != number && other != name), "{name}");
        }
    }
}
