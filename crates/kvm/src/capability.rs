//! Capabilities by the kernel's names. Each is queried, enabled and observed in one place.

use std::fmt;

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $kernel:literal;)*) => {
        /// A KVM capability that this accelerator queries, by its number in the kernel's `linux/kvm.h`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Capability { $($(#[$doc])* $name = $number,)* }

        impl Capability {
            /// Every capability of this type.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The kernel's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $kernel,)* }
            }
        }
    };
}

capabilities! {
    /// Memory slots backed by user memory.
    UserMemory = 3, "KVM_CAP_USER_MEMORY";
    /// The three-page TSS that VMX needs can be placed.
    SetTssAddr = 4, "KVM_CAP_SET_TSS_ADDR";
    /// KVM_GET_SUPPORTED_CPUID and KVM_SET_CPUID2.
    ExtCpuid = 7, "KVM_CAP_EXT_CPUID";
    /// Recommended number of vCPUs.
    NrVcpus = 9, "KVM_CAP_NR_VCPUS";
    /// Number of memory slots.
    NrMemslots = 10, "KVM_CAP_NR_MEMSLOTS";
    /// KVM_GET_MP_STATE and KVM_SET_MP_STATE.
    MpState = 14, "KVM_CAP_MP_STATE";
    /// Coalesced writes to memory. The value is the page of the ring in a vCPU's mapping.
    CoalescedMmio = 15, "KVM_CAP_COALESCED_MMIO";
    /// Memory slots can be deleted.
    DestroyMemoryRegionWorks = 21, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS";
    /// KVM_SET_GUEST_DEBUG.
    SetGuestDebug = 23, "KVM_CAP_SET_GUEST_DEBUG";
    /// GSI routing.
    IrqRouting = 25, "KVM_CAP_IRQ_ROUTING";
    /// Adjacent slots work.
    JoinMemoryRegionsWorks = 30, "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS";
    /// Machine check banks.
    Mce = 31, "KVM_CAP_MCE";
    /// Interrupts by eventfd.
    Irqfd = 32, "KVM_CAP_IRQFD";
    /// Exits to eventfds.
    Ioeventfd = 36, "KVM_CAP_IOEVENTFD";
    /// The identity map page can be placed.
    SetIdentityMapAddr = 37, "KVM_CAP_SET_IDENTITY_MAP_ADDR";
    /// kvmclock can be adjusted.
    AdjustClock = 39, "KVM_CAP_ADJUST_CLOCK";
    /// KVM_EXIT_INTERNAL_ERROR carries data.
    InternalErrorData = 40, "KVM_CAP_INTERNAL_ERROR_DATA";
    /// KVM_GET_VCPU_EVENTS.
    VcpuEvents = 41, "KVM_CAP_VCPU_EVENTS";
    /// KVM_GET_DEBUGREGS.
    Debugregs = 50, "KVM_CAP_DEBUGREGS";
    /// Single-step survives interrupts.
    X86RobustSinglestep = 51, "KVM_CAP_X86_ROBUST_SINGLESTEP";
    /// KVM_GET_XSAVE.
    Xsave = 55, "KVM_CAP_XSAVE";
    /// KVM_GET_XCRS.
    Xcrs = 56, "KVM_CAP_XCRS";
    /// The guest's time-stamp counter can have its own frequency.
    TscControl = 60, "KVM_CAP_TSC_CONTROL";
    /// The guest's TSC frequency can be read.
    GetTscKhz = 61, "KVM_CAP_GET_TSC_KHZ";
    /// Hard limit on vCPUs.
    MaxVcpus = 66, "KVM_CAP_MAX_VCPUS";
    /// The local APIC's TSC-deadline timer.
    TscDeadlineTimer = 72, "KVM_CAP_TSC_DEADLINE_TIMER";
    /// A guest can be notified that it was paused.
    KvmclockCtrl = 76, "KVM_CAP_KVMCLOCK_CTRL";
    /// KVM_SIGNAL_MSI.
    SignalMsi = 77, "KVM_CAP_SIGNAL_MSI";
    /// Memory slots that a guest cannot write.
    ReadonlyMem = 81, "KVM_CAP_READONLY_MEM";
    /// The local APIC is in the kernel; IOAPIC, PIC and PIT are outside.
    SplitIrqchip = 121, "KVM_CAP_SPLIT_IRQCHIP";
    /// ioeventfds match any length.
    IoeventfdAnyLength = 122, "KVM_CAP_IOEVENTFD_ANY_LENGTH";
    /// `kvm_run.immediate_exit`, which makes kicks reliable.
    ImmediateExit = 136, "KVM_CAP_IMMEDIATE_EXIT";
    /// HLT, PAUSE and similar instructions can run without an exit. The value is a mask of them.
    X86DisableExits = 143, "KVM_CAP_X86_DISABLE_EXITS";
    /// Coalesced writes to ports.
    CoalescedPio = 162, "KVM_CAP_COALESCED_PIO";
    /// KVM_GET_NESTED_STATE; the value is its largest size.
    NestedState = 157, "KVM_CAP_NESTED_STATE";
    /// A vCPU can have Hyper-V's synthetic interrupt controller.
    HypervSynic2 = 148, "KVM_CAP_HYPERV_SYNIC2";
    /// KVM_GET_SUPPORTED_HV_CPUID on the system fd.
    SysHypervCpuid = 191, "KVM_CAP_SYS_HYPERV_CPUID";
    /// A vCPU can refuse Hyper-V features that its CPUID does not offer.
    HypervEnforceCpuid = 199, "KVM_CAP_HYPERV_ENFORCE_CPUID";
    /// KVM_CLEAR_DIRTY_LOG. The value has a bit for each mode.
    ManualDirtyLogProtect2 = 168, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2";
    /// Dirty rings. The value is the largest size in bytes.
    DirtyLogRing = 192, "KVM_CAP_DIRTY_LOG_RING";
    /// Dirty rings whose entries need acquire and release accesses.
    DirtyLogRingAcqRel = 223, "KVM_CAP_DIRTY_LOG_RING_ACQ_REL";
    /// Exception payloads are reported separately from the register that they change.
    ExceptionPayload = 164, "KVM_CAP_EXCEPTION_PAYLOAD";
    /// User space can emulate MSRs.
    X86UserSpaceMsr = 188, "KVM_CAP_X86_USER_SPACE_MSR";
    /// KVM_X86_SET_MSR_FILTER.
    X86MsrFilter = 189, "KVM_CAP_X86_MSR_FILTER";
    /// Bus locks exit to user space.
    X86BusLockExit = 193, "KVM_CAP_X86_BUS_LOCK_EXIT";
    /// KVM_GET_STATS_FD.
    BinaryStatsFd = 203, "KVM_CAP_BINARY_STATS_FD";
    /// The flags that KVM_SET_GUEST_DEBUG accepts.
    SetGuestDebug2 = 195, "KVM_CAP_SET_GUEST_DEBUG2";
    /// KVM_GET_SREGS2.
    Sregs2 = 200, "KVM_CAP_SREGS2";
    /// The size of the XSAVE area.
    Xsave2 = 208, "KVM_CAP_XSAVE2";
    /// The vCPU events include a pending triple fault.
    X86TripleFaultEvent = 218, "KVM_CAP_X86_TRIPLE_FAULT_EVENT";
    /// Notify VM exits.
    X86NotifyVmexit = 219, "KVM_CAP_X86_NOTIFY_VMEXIT";
}

impl Capability {
    /// The number in the kernel's header.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}
