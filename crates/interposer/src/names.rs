//! Names of ioctls and errnos.

use libc::c_int;

/// The type byte of every KVM ioctl.
const KVM_TYPE: u32 = 0xae;

pub const CHECK_EXTENSION: u32 = 0xae03;
pub const CREATE_VM: u32 = 0xae01;
pub const CREATE_VCPU: u32 = 0xae41;
pub const ENABLE_CAP: u32 = 0x4068_aea3;
pub const RUN: u32 = 0xae80;
pub const SET_CPUID2: u32 = 0x4008_ae90;

/// Not an ioctl: represents the `mmap` of a vCPU in the log and in rules.
pub const MMAP: u32 = 0;

/// The request numbers on x86-64. The same low byte with another size is another call, so the whole number is compared.
const IOCTLS: &[(u32, &str)] = &[
    (MMAP, "mmap"),
    (0xae00, "KVM_GET_API_VERSION"),
    (CREATE_VM, "KVM_CREATE_VM"),
    (0xc004_ae02, "KVM_GET_MSR_INDEX_LIST"),
    (CHECK_EXTENSION, "KVM_CHECK_EXTENSION"),
    (0xae04, "KVM_GET_VCPU_MMAP_SIZE"),
    (0xc008_ae05, "KVM_GET_SUPPORTED_CPUID"),
    (0xc008_ae09, "KVM_GET_EMULATED_CPUID"),
    (0xc004_ae0a, "KVM_GET_MSR_FEATURE_INDEX_LIST"),
    (CREATE_VCPU, "KVM_CREATE_VCPU"),
    (0x4010_ae42, "KVM_GET_DIRTY_LOG"),
    (0xae44, "KVM_SET_NR_MMU_PAGES"),
    (0x4020_ae46, "KVM_SET_USER_MEMORY_REGION"),
    (0xae47, "KVM_SET_TSS_ADDR"),
    (0x4008_ae48, "KVM_SET_IDENTITY_MAP_ADDR"),
    (0x40a0_ae49, "KVM_SET_USER_MEMORY_REGION2"),
    (0xae60, "KVM_CREATE_IRQCHIP"),
    (0x4008_ae61, "KVM_IRQ_LINE"),
    (0xc208_ae62, "KVM_GET_IRQCHIP"),
    (0x8208_ae63, "KVM_SET_IRQCHIP"),
    (0xc008_ae67, "KVM_IRQ_LINE_STATUS"),
    (0x4010_ae67, "KVM_REGISTER_COALESCED_MMIO"),
    (0x4010_ae68, "KVM_UNREGISTER_COALESCED_MMIO"),
    (0x4008_ae6a, "KVM_SET_GSI_ROUTING"),
    (0xae71, "KVM_REINJECT_CONTROL"),
    (0x4020_ae76, "KVM_IRQFD"),
    (0x4040_ae77, "KVM_CREATE_PIT2"),
    (0xae78, "KVM_SET_BOOT_CPU_ID"),
    (0x4040_ae79, "KVM_IOEVENTFD"),
    (0x4030_ae7b, "KVM_SET_CLOCK"),
    (0x8030_ae7c, "KVM_GET_CLOCK"),
    (RUN, "KVM_RUN"),
    (0x8090_ae81, "KVM_GET_REGS"),
    (0x4090_ae82, "KVM_SET_REGS"),
    (0x8138_ae83, "KVM_GET_SREGS"),
    (0x4138_ae84, "KVM_SET_SREGS"),
    (0xc018_ae85, "KVM_TRANSLATE"),
    (0x4004_ae86, "KVM_INTERRUPT"),
    (0xc008_ae88, "KVM_GET_MSRS"),
    (0x4008_ae89, "KVM_SET_MSRS"),
    (0x4004_ae8b, "KVM_SET_SIGNAL_MASK"),
    (0x81a0_ae8c, "KVM_GET_FPU"),
    (0x41a0_ae8d, "KVM_SET_FPU"),
    (0x8400_ae8e, "KVM_GET_LAPIC"),
    (0x4400_ae8f, "KVM_SET_LAPIC"),
    (SET_CPUID2, "KVM_SET_CPUID2"),
    (0xc008_ae91, "KVM_GET_CPUID2"),
    (0xc028_ae92, "KVM_TPR_ACCESS_REPORTING"),
    (0x4008_ae93, "KVM_SET_VAPIC_ADDR"),
    (0x8004_ae98, "KVM_GET_MP_STATE"),
    (0x4004_ae99, "KVM_SET_MP_STATE"),
    (0xae9a, "KVM_NMI"),
    (0x4048_ae9b, "KVM_SET_GUEST_DEBUG"),
    (0x4008_ae9c, "KVM_X86_SETUP_MCE"),
    (0x8008_ae9d, "KVM_X86_GET_MCE_CAP_SUPPORTED"),
    (0x4040_ae9e, "KVM_X86_SET_MCE"),
    (0x8040_ae9f, "KVM_GET_VCPU_EVENTS"),
    (0x8070_ae9f, "KVM_GET_PIT2"),
    (0x4040_aea0, "KVM_SET_VCPU_EVENTS"),
    (0x4070_aea0, "KVM_SET_PIT2"),
    (0x8080_aea1, "KVM_GET_DEBUGREGS"),
    (0x4080_aea2, "KVM_SET_DEBUGREGS"),
    (0xaea2, "KVM_SET_TSC_KHZ"),
    (ENABLE_CAP, "KVM_ENABLE_CAP"),
    (0xaea3, "KVM_GET_TSC_KHZ"),
    (0x9000_aea4, "KVM_GET_XSAVE"),
    (0x5000_aea5, "KVM_SET_XSAVE"),
    (0x4020_aea5, "KVM_SIGNAL_MSI"),
    (0x8188_aea6, "KVM_GET_XCRS"),
    (0x4188_aea7, "KVM_SET_XCRS"),
    (0xaead, "KVM_KVMCLOCK_CTRL"),
    (0xaeb7, "KVM_SMI"),
    (0xc080_aebe, "KVM_GET_NESTED_STATE"),
    (0x4080_aebf, "KVM_SET_NESTED_STATE"),
    (0xc018_aec0, "KVM_CLEAR_DIRTY_LOG"),
    (0x4188_aec6, "KVM_X86_SET_MSR_FILTER"),
    (0xaec7, "KVM_RESET_DIRTY_RINGS"),
    (0x8140_aecc, "KVM_GET_SREGS2"),
    (0x4140_aecd, "KVM_SET_SREGS2"),
    (0xaece, "KVM_GET_STATS_FD"),
    (0x9000_aecf, "KVM_GET_XSAVE2"),
    (0x4020_aed2, "KVM_SET_MEMORY_ATTRIBUTES"),
    (0xc040_aed4, "KVM_CREATE_GUEST_MEMFD"),
    (0xc00c_aee0, "KVM_CREATE_DEVICE"),
    (0x4018_aee1, "KVM_SET_DEVICE_ATTR"),
    (0x4018_aee2, "KVM_GET_DEVICE_ATTR"),
    (0x4018_aee3, "KVM_HAS_DEVICE_ATTR"),
];

/// The errnos that rules can name.
const ERRNOS: &[(c_int, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::ENOEXEC, "ENOEXEC"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
];

/// True if a request is a KVM ioctl.
pub const fn is_kvm(request: u32) -> bool {
    request >> 8 & 0xff == KVM_TYPE
}

/// Returns the name of a call; `None` if the table does not have it.
pub fn ioctl_name(request: u32) -> Option<&'static str> {
    IOCTLS.iter().find(|(number, _)| *number == request).map(|(_, name)| *name)
}

/// Returns the request number of a call.
pub fn ioctl_number(name: &str) -> Option<u32> {
    IOCTLS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

/// Returns the number of an errno.
pub fn errno_number(name: &str) -> Option<c_int> {
    ERRNOS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_every_ioctl_is_kvms_and_is_there_once() {
        for (index, (number, name)) in IOCTLS.iter().enumerate().skip(1) {
            assert!(is_kvm(*number), "{name}");
            assert!(IOCTLS.iter().skip(index + 1).all(|(n, other)| n != number && other != name), "{name}");
        }
    }

    #[test]
    fn test_same_low_byte_other_size_is_another_call() {
        assert_eq!(ioctl_name(0xaea3), Some("KVM_GET_TSC_KHZ"));
        assert_eq!(ioctl_name(0x4068_aea3), Some("KVM_ENABLE_CAP"));
        assert_eq!(ioctl_name(0xaeff), None);
        assert!(!is_kvm(0x5413));
    }
}
