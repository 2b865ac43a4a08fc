//! The ioctls of each kind of object, and their arguments. Calling a number that is not listed here fails.

use kvm_bindings::{
    kvm_clock_data, kvm_coalesced_mmio_zone, kvm_cpuid_entry2, kvm_cpuid2, kvm_debugregs, kvm_enable_cap, kvm_fpu,
    kvm_guest_debug, kvm_interrupt, kvm_ioeventfd, kvm_irq_level, kvm_irq_routing, kvm_irq_routing_entry, kvm_irqchip,
    kvm_irqfd, kvm_lapic_state, kvm_mp_state, kvm_msi, kvm_msr_entry, kvm_msr_list, kvm_msrs, kvm_pit_config,
    kvm_pit_state2, kvm_regs, kvm_reinject_control, kvm_sregs, kvm_sregs2, kvm_translation, kvm_vcpu_events, kvm_xcrs,
    kvm_xsave,
};

/// The argument of an ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// No argument, or a number.
    Value,
    /// A structure of this many bytes.
    Struct(usize),
    /// A header that begins with the number of entries that follow it (u32). The kernel trusts this number.
    List {
        /// Size of the header in bytes.
        header: usize,
        /// Size of an entry in bytes.
        entry: usize,
    },
    /// At least this many bytes. How many more the kernel copies depends on the CPU's features.
    Xsave(usize),
    /// A header whose second u32 is the total size. The kernel trusts this size.
    Sized {
        /// Size of the header in bytes.
        header: usize,
    },
}

/// One ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The kernel's name.
    pub name: &'static str,
    /// The request number, which contains direction and size.
    pub request: u32,
    /// The argument.
    pub argument: Argument,
}

const KVMIO: u32 = 0xae;
const WRITE: u32 = 1 << 30;
const READ: u32 = 2 << 30;

#[allow(clippy::cast_possible_truncation, reason = "no structure of KVM has 16 KiB; the tests compare the numbers")]
const fn call(name: &'static str, direction: u32, number: u32, size: usize, argument: Argument) -> Call {
    Call { name, request: direction | (size as u32) << 16 | KVMIO << 8 | number, argument }
}

const fn io(name: &'static str, number: u32) -> Call {
    call(name, 0, number, 0, Argument::Value)
}

const fn structure<T>(name: &'static str, direction: u32, number: u32) -> Call {
    call(name, direction, number, size_of::<T>(), Argument::Struct(size_of::<T>()))
}

const fn list<H, E>(name: &'static str, direction: u32, number: u32) -> Call {
    call(name, direction, number, size_of::<H>(), Argument::List { header: size_of::<H>(), entry: size_of::<E>() })
}

/// Ioctls of `/dev/kvm`.
pub const SYSTEM: &[Call] = &[
    io("KVM_GET_API_VERSION", 0x00),
    list::<kvm_msr_list, u32>("KVM_GET_MSR_INDEX_LIST", READ | WRITE, 0x02),
    io("KVM_CHECK_EXTENSION", 0x03),
    io("KVM_GET_VCPU_MMAP_SIZE", 0x04),
    list::<kvm_cpuid2, kvm_cpuid_entry2>("KVM_GET_SUPPORTED_CPUID", READ | WRITE, 0x05),
    list::<kvm_cpuid2, kvm_cpuid_entry2>("KVM_GET_EMULATED_CPUID", READ | WRITE, 0x09),
    list::<kvm_msr_list, u32>("KVM_GET_MSR_FEATURE_INDEX_LIST", READ | WRITE, 0x0a),
    list::<kvm_msrs, kvm_msr_entry>("KVM_GET_MSRS", READ | WRITE, 0x88),
];

/// Ioctls of a VM. Other ioctls of a VM have their own methods, because they take pointers or create objects.
pub const VM: &[Call] = &[
    io("KVM_CHECK_EXTENSION", 0x03),
    io("KVM_SET_NR_MMU_PAGES", 0x44),
    io("KVM_SET_TSS_ADDR", 0x47),
    structure::<u64>("KVM_SET_IDENTITY_MAP_ADDR", WRITE, 0x48),
    io("KVM_CREATE_IRQCHIP", 0x60),
    structure::<kvm_irq_level>("KVM_IRQ_LINE", WRITE, 0x61),
    structure::<kvm_irqchip>("KVM_GET_IRQCHIP", READ | WRITE, 0x62),
    structure::<kvm_irqchip>("KVM_SET_IRQCHIP", READ, 0x63),
    structure::<kvm_irq_level>("KVM_IRQ_LINE_STATUS", READ | WRITE, 0x67),
    structure::<kvm_coalesced_mmio_zone>("KVM_REGISTER_COALESCED_MMIO", WRITE, 0x67),
    structure::<kvm_coalesced_mmio_zone>("KVM_UNREGISTER_COALESCED_MMIO", WRITE, 0x68),
    list::<kvm_irq_routing, kvm_irq_routing_entry>("KVM_SET_GSI_ROUTING", WRITE, 0x6a),
    // The number is an _IO number, but the ioctl takes a structure.
    call("KVM_REINJECT_CONTROL", 0, 0x71, 0, Argument::Struct(size_of::<kvm_reinject_control>())),
    structure::<kvm_irqfd>("KVM_IRQFD", WRITE, 0x76),
    structure::<kvm_pit_config>("KVM_CREATE_PIT2", WRITE, 0x77),
    io("KVM_SET_BOOT_CPU_ID", 0x78),
    structure::<kvm_ioeventfd>("KVM_IOEVENTFD", WRITE, 0x79),
    structure::<kvm_clock_data>("KVM_SET_CLOCK", WRITE, 0x7b),
    structure::<kvm_clock_data>("KVM_GET_CLOCK", READ, 0x7c),
    structure::<kvm_pit_state2>("KVM_GET_PIT2", READ, 0x9f),
    structure::<kvm_pit_state2>("KVM_SET_PIT2", WRITE, 0xa0),
    structure::<kvm_enable_cap>("KVM_ENABLE_CAP", WRITE, 0xa3),
    structure::<kvm_msi>("KVM_SIGNAL_MSI", WRITE, 0xa5),
    io("KVM_GET_STATS_FD", 0xce),
];

/// Ioctls of a vCPU, except KVM_RUN.
pub const VCPU: &[Call] = &[
    structure::<kvm_regs>("KVM_GET_REGS", READ, 0x81),
    structure::<kvm_regs>("KVM_SET_REGS", WRITE, 0x82),
    structure::<kvm_sregs>("KVM_GET_SREGS", READ, 0x83),
    structure::<kvm_sregs>("KVM_SET_SREGS", WRITE, 0x84),
    structure::<kvm_translation>("KVM_TRANSLATE", READ | WRITE, 0x85),
    structure::<kvm_interrupt>("KVM_INTERRUPT", WRITE, 0x86),
    list::<kvm_msrs, kvm_msr_entry>("KVM_GET_MSRS", READ | WRITE, 0x88),
    list::<kvm_msrs, kvm_msr_entry>("KVM_SET_MSRS", WRITE, 0x89),
    structure::<kvm_fpu>("KVM_GET_FPU", READ, 0x8c),
    structure::<kvm_fpu>("KVM_SET_FPU", WRITE, 0x8d),
    structure::<kvm_lapic_state>("KVM_GET_LAPIC", READ, 0x8e),
    structure::<kvm_lapic_state>("KVM_SET_LAPIC", WRITE, 0x8f),
    list::<kvm_cpuid2, kvm_cpuid_entry2>("KVM_SET_CPUID2", WRITE, 0x90),
    list::<kvm_cpuid2, kvm_cpuid_entry2>("KVM_GET_CPUID2", READ | WRITE, 0x91),
    structure::<kvm_mp_state>("KVM_GET_MP_STATE", READ, 0x98),
    structure::<kvm_mp_state>("KVM_SET_MP_STATE", WRITE, 0x99),
    io("KVM_NMI", 0x9a),
    structure::<kvm_guest_debug>("KVM_SET_GUEST_DEBUG", WRITE, 0x9b),
    structure::<kvm_vcpu_events>("KVM_GET_VCPU_EVENTS", READ, 0x9f),
    structure::<kvm_vcpu_events>("KVM_SET_VCPU_EVENTS", WRITE, 0xa0),
    structure::<kvm_debugregs>("KVM_GET_DEBUGREGS", READ, 0xa1),
    structure::<kvm_debugregs>("KVM_SET_DEBUGREGS", WRITE, 0xa2),
    io("KVM_SET_TSC_KHZ", 0xa2),
    io("KVM_GET_TSC_KHZ", 0xa3),
    structure::<kvm_enable_cap>("KVM_ENABLE_CAP", WRITE, 0xa3),
    call("KVM_GET_XSAVE", READ, 0xa4, size_of::<kvm_xsave>(), Argument::Xsave(size_of::<kvm_xsave>())),
    call("KVM_SET_XSAVE", WRITE, 0xa5, size_of::<kvm_xsave>(), Argument::Xsave(size_of::<kvm_xsave>())),
    structure::<kvm_xcrs>("KVM_GET_XCRS", READ, 0xa6),
    structure::<kvm_xcrs>("KVM_SET_XCRS", WRITE, 0xa7),
    io("KVM_KVMCLOCK_CTRL", 0xad),
    io("KVM_SMI", 0xb7),
    call("KVM_GET_NESTED_STATE", READ | WRITE, 0xbe, NESTED_HEADER, Argument::Sized { header: NESTED_HEADER }),
    call("KVM_SET_NESTED_STATE", WRITE, 0xbf, NESTED_HEADER, Argument::Sized { header: NESTED_HEADER }),
    structure::<kvm_sregs2>("KVM_GET_SREGS2", READ, 0xcc),
    structure::<kvm_sregs2>("KVM_SET_SREGS2", WRITE, 0xcd),
    io("KVM_GET_STATS_FD", 0xce),
    call("KVM_GET_XSAVE2", READ, 0xcf, size_of::<kvm_xsave>(), Argument::Xsave(size_of::<kvm_xsave>())),
];

/// Size of `kvm_nested_state` without its data. The bindings' type includes the data.
const NESTED_HEADER: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(table: &[Call], name: &str) -> u32 {
        table.iter().find(|call| call.name == name).unwrap().request
    }

    #[test]
    fn test_requests_are_the_kernels_numbers() {
        for (name, number) in [
            ("KVM_GET_MSR_INDEX_LIST", 0xc004_ae02),
            ("KVM_GET_SUPPORTED_CPUID", 0xc008_ae05),
            ("KVM_GET_MSR_FEATURE_INDEX_LIST", 0xc004_ae0a),
            ("KVM_GET_MSRS", 0xc008_ae88),
        ] {
            assert_eq!(request(SYSTEM, name), number, "{name}");
        }
        for (name, number) in [
            ("KVM_SET_IDENTITY_MAP_ADDR", 0x4008_ae48),
            ("KVM_GET_IRQCHIP", 0xc208_ae62),
            ("KVM_SET_IRQCHIP", 0x8208_ae63),
            ("KVM_IRQ_LINE_STATUS", 0xc008_ae67),
            ("KVM_REGISTER_COALESCED_MMIO", 0x4010_ae67),
            ("KVM_SET_GSI_ROUTING", 0x4008_ae6a),
            ("KVM_REINJECT_CONTROL", 0xae71),
            ("KVM_IRQFD", 0x4020_ae76),
            ("KVM_CREATE_PIT2", 0x4040_ae77),
            ("KVM_IOEVENTFD", 0x4040_ae79),
            ("KVM_SET_CLOCK", 0x4030_ae7b),
            ("KVM_GET_CLOCK", 0x8030_ae7c),
            ("KVM_GET_PIT2", 0x8070_ae9f),
            ("KVM_ENABLE_CAP", 0x4068_aea3),
            ("KVM_SIGNAL_MSI", 0x4020_aea5),
            ("KVM_GET_STATS_FD", 0xaece),
        ] {
            assert_eq!(request(VM, name), number, "{name}");
        }
        for (name, number) in [
            ("KVM_GET_REGS", 0x8090_ae81),
            ("KVM_GET_SREGS", 0x8138_ae83),
            ("KVM_INTERRUPT", 0x4004_ae86),
            ("KVM_SET_MSRS", 0x4008_ae89),
            ("KVM_GET_FPU", 0x81a0_ae8c),
            ("KVM_GET_LAPIC", 0x8400_ae8e),
            ("KVM_SET_CPUID2", 0x4008_ae90),
            ("KVM_SET_GUEST_DEBUG", 0x4048_ae9b),
            ("KVM_GET_VCPU_EVENTS", 0x8040_ae9f),
            ("KVM_GET_DEBUGREGS", 0x8080_aea1),
            ("KVM_GET_XSAVE", 0x9000_aea4),
            ("KVM_SET_XSAVE", 0x5000_aea5),
            ("KVM_GET_XCRS", 0x8188_aea6),
            ("KVM_GET_NESTED_STATE", 0xc080_aebe),
            ("KVM_GET_SREGS2", 0x8140_aecc),
            ("KVM_GET_XSAVE2", 0x9000_aecf),
        ] {
            assert_eq!(request(VCPU, name), number, "{name}");
        }
    }

    #[test]
    fn test_a_number_means_one_call_within_an_object() {
        for table in [SYSTEM, VM, VCPU] {
            for (n, call) in table.iter().enumerate() {
                assert!(table[..n].iter().all(|other| other.request != call.request), "{}", call.name);
            }
        }
    }
}
