//! The table of events: the single source for emitting and filtering them, for docs/reference/trace.md and for
//! TypeScript's types.

use std::borrow::Cow;

/// A text argument.
type Text = Cow<'static, str>;

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgType {
    /// Up to 16 bits.
    U16,
    /// Up to 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Up to 64 bits.
    U64,
    /// True or false.
    Bool,
    /// A text.
    Text,
}

impl ArgType {
    /// Returns the name in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::Bool => "bool",
            Self::Text => "text",
        }
    }
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number or a truth value. Negative numbers are in two's complement.
    Number(u64),
    /// A text.
    Text(Text),
}

macro_rules! arg_from {
    ($($t:ty => |$v:ident| $number:expr;)*) => {
        $(impl From<$t> for Arg {
            fn from($v: $t) -> Self { Self::Number($number) }
        })*
    };
}
arg_from! {
    u16 => |v| v.into();
    u32 => |v| v.into();
    u64 => |v| v;
    bool => |v| v.into();
    i32 => |v| i64::from(v).cast_unsigned();
}

impl From<Text> for Arg {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

/// The name, the description and the arguments of an event.
#[derive(Clone, Copy, Debug)]
pub struct EventInfo {
    /// The kind of the event.
    pub kind: TraceKind,
    /// QEMU's name, or a name of this project.
    pub name: &'static str,
    /// When the event occurs, in one line.
    pub about: &'static str,
    /// Name and type of each argument, in order.
    pub args: &'static [(&'static str, ArgType)],
}

macro_rules! arg_type {
    (u16) => {
        u16
    };
    (u32) => {
        u32
    };
    (i32) => {
        i32
    };
    (u64) => {
        u64
    };
    (bool) => {
        bool
    };
    (text) => {
        Text
    };
}

macro_rules! arg_kind {
    (u16) => {
        ArgType::U16
    };
    (u32) => {
        ArgType::U32
    };
    (i32) => {
        ArgType::I32
    };
    (u64) => {
        ArgType::U64
    };
    (bool) => {
        ArgType::Bool
    };
    (text) => {
        ArgType::Text
    };
}

macro_rules! events {
    ($(#[doc = $about:literal] $kind:ident = $name:literal { $($field:ident as $arg:literal: $type:ident),* $(,)? })*) => {
        /// An event with its arguments, whose names are QEMU's.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "arguments are described by the event")]
        pub enum TraceEvent { $(#[doc = $about] $kind { $($field: arg_type!($type)),* },)* }

        /// The kind of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum TraceKind { $(#[doc = $about] $kind,)* }

        /// Every event, in the order of [`TraceKind`].
        pub const EVENTS: &[EventInfo] = &[$(EventInfo {
            kind: TraceKind::$kind,
            name: $name,
            about: $about,
            args: &[$(($arg, arg_kind!($type))),*],
        }),*];

        impl TraceEvent {
            /// Returns the kind.
            #[must_use]
            pub const fn kind(&self) -> TraceKind {
                match self { $(Self::$kind { .. } => TraceKind::$kind,)* }
            }

            /// Returns the arguments, in the order of [`EventInfo::args`].
            #[must_use]
            pub fn args(&self) -> Vec<Arg> {
                match self { $(Self::$kind { $($field),* } => vec![$($field.clone().into()),*],)* }
            }
        }
    };
}

// One line each: `-trace help` and the table of docs/reference/trace.md show the text.
events! {
    #[doc = "An ioctl on the system fd. QEMU shows the address of its argument, kvm-accel its name."]
    KvmIoctl = "kvm_ioctl" { number as "type": u32, name as "name": text }
    #[doc = "An ioctl on the VM fd."]
    KvmVmIoctl = "kvm_vm_ioctl" { number as "type": u32, name as "name": text }
    #[doc = "An ioctl on a vCPU fd. The event of KVM_RUN is emitted before the guest is entered."]
    KvmVcpuIoctl = "kvm_vcpu_ioctl" { cpu_index as "cpu_index": u32, number as "type": u32, name as "name": text }
    #[doc = "KVM_RUN returned with an exit: KVM_EXIT_* in linux/kvm.h."]
    KvmRunExit = "kvm_run_exit" { cpu_index as "cpu_index": u32, reason as "reason": u32 }
    #[doc = "A kick or another signal interrupted KVM_RUN."]
    KvmIoWindowExit = "kvm_io_window_exit" {}
    #[doc = "A system event of the guest's firmware interface: KVM_SYSTEM_EVENT_* in linux/kvm.h."]
    KvmRunExitSystemEvent = "kvm_run_exit_system_event" { cpu_index as "cpu_index": u32, event_type as "event_type": u32 }
    #[doc = "The guest accessed memory that the host cannot supply: KVM_MEMORY_EXIT_FLAG_* in linux/kvm.h."]
    KvmMemoryFault = "kvm_memory_fault" { start as "start": u64, size as "size": u64, flags as "flags": u64 }
    #[doc = "A vCPU thread starts to run the guest."]
    KvmCpuExec = "kvm_cpu_exec" {}
    #[doc = "A vCPU thread has received a request to leave the guest."]
    KvmInterruptExitRequest = "kvm_interrupt_exit_request" {}
    #[doc = "The set-up of a vCPU begins."]
    KvmInitVcpu = "kvm_init_vcpu" { cpu_index as "cpu_index": u32, arch_cpu_id as "arch_cpu_id": u32 }
    #[doc = "A vCPU has been created."]
    KvmCreateVcpu = "kvm_create_vcpu" { cpu_index as "cpu_index": u32, arch_cpu_id as "arch_cpu_id": u32, kvm_fd as "kvm_fd": i32 }
    #[doc = "A vCPU thread ends and destroys the vCPU."]
    KvmDestroyVcpu = "kvm_destroy_vcpu" { cpu_index as "cpu_index": u32, arch_cpu_id as "arch_cpu_id": u32 }
    #[doc = "A memory slot was set; size 0 deletes it."]
    KvmSetUserMemory = "kvm_set_user_memory" {
        address_space as "as": u16,
        slot as "slot": u32,
        flags as "flags": u32,
        guest_phys_addr as "guest_phys_addr": u64,
        memory_size as "memory_size": u64,
        userspace_addr as "userspace_addr": u64,
        ret as "ret": i32,
    }
    #[doc = "The GSI routing table is passed to the kernel."]
    KvmIrqchipCommitRoutes = "kvm_irqchip_commit_routes" {}
    #[doc = "A GSI was assigned to a message. QEMU shows the device and its vector, kvm-accel the message."]
    KvmIrqchipAddMsiRoute = "kvm_irqchip_add_msi_route" { address as "address": u64, data as "data": u32, virq as "virq": u32 }
    #[doc = "The message of a GSI was replaced."]
    KvmIrqchipUpdateMsiRoute = "kvm_irqchip_update_msi_route" { virq as "virq": u32 }
    #[doc = "A GSI and its routes were released."]
    KvmIrqchipReleaseVirq = "kvm_irqchip_release_virq" { virq as "virq": u32 }
    #[doc = "The guest has acknowledged a level-triggered GSI of an IOAPIC outside the kernel, and its resample eventfd is signalled."]
    KvmResampleFdNotify = "kvm_resample_fd_notify" { gsi as "gsi": u32 }
    #[doc = "The dirty bits of a range of pages of a slot were cleared."]
    KvmClearDirtyLog = "kvm_clear_dirty_log" { slot as "slot": u32, start as "start": u64, size as "size": u32 }
    #[doc = "A vCPU stopped because its dirty ring is full."]
    KvmDirtyRingFull = "kvm_dirty_ring_full" { id as "id": u32 }
    #[doc = "A vCPU's dirty ring is being harvested."]
    KvmDirtyRingReapVcpu = "kvm_dirty_ring_reap_vcpu" { id as "id": u32 }
    #[doc = "A dirty page was harvested; as in QEMU, the slot is the index of the ring's entry."]
    KvmDirtyRingPage = "kvm_dirty_ring_page" { vcpu as "vcpu": u32, slot as "slot": u32, offset as "offset": u64 }
    #[doc = "The state of the thread that harvests the dirty rings."]
    KvmDirtyRingReaper = "kvm_dirty_ring_reaper" { s as "s": text }
    #[doc = "All dirty rings were harvested: the number of pages and the duration in microseconds."]
    KvmDirtyRingReap = "kvm_dirty_ring_reap" { count as "count": u64, t as "t": u64 }
    #[doc = "The dirty rings are emptied completely: 0 at the beginning, 1 at the end."]
    KvmDirtyRingFlush = "kvm_dirty_ring_flush" { finished as "finished": u32 }
    #[doc = "An ioeventfd for an address was assigned or deassigned."]
    KvmSetIoeventfdMmio = "kvm_set_ioeventfd_mmio" {
        fd as "fd": i32,
        addr as "addr": u64,
        val as "val": u64,
        assign as "assign": bool,
        size as "size": u32,
        datamatch as "datamatch": bool,
    }
    #[doc = "An ioeventfd for a port was assigned or deassigned."]
    KvmSetIoeventfdPio = "kvm_set_ioeventfd_pio" {
        fd as "fd": i32,
        addr as "addr": u16,
        val as "val": u64,
        assign as "assign": bool,
        size as "size": u32,
        datamatch as "datamatch": bool,
    }
    #[doc = "A notify VM exit, real or injected, and whether the vCPU was resumed. QEMU lacks this event."]
    KvmNotify = "kvm_notify" {
        cpu_index as "cpu_index": u32,
        rip as "rip": u64,
        context_invalid as "context_invalid": bool,
        injected as "injected": bool,
        resumed as "resumed": bool,
    }
    #[doc = "KVM cannot continue the guest: KVM_INTERNAL_ERROR_* in linux/kvm.h. QEMU lacks this event."]
    KvmInternalError = "kvm_internal_error" { cpu_index as "cpu_index": u32, suberror as "suberror": u32 }
}

const _: () = assert!(EVENTS.len() <= 64, "a mask of events is a u64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_table_is_in_the_order_of_its_kinds_and_names_are_unique() {
        for (index, event) in EVENTS.iter().enumerate() {
            assert_eq!(event.kind as usize, index);
            assert!(EVENTS.iter().skip(index + 1).all(|other| other.name != event.name), "{}", event.name);
            assert!(event.name.starts_with("kvm_") && event.about.ends_with('.'), "{}", event.name);
        }
    }

    #[test]
    fn test_arguments_are_those_of_the_table() {
        let event = TraceEvent::KvmCreateVcpu { cpu_index: 1, arch_cpu_id: 2, kvm_fd: -3 };
        assert_eq!(event.args(), [Arg::Number(1), Arg::Number(2), Arg::Number((-3_i64).cast_unsigned())]);
        let info = EVENTS[event.kind() as usize];
        assert_eq!(info.args.map_names(), ["cpu_index", "arch_cpu_id", "kvm_fd"]);
    }

    trait Names {
        fn map_names(&self) -> Vec<&'static str>;
    }

    impl Names for [(&'static str, ArgType)] {
        fn map_names(&self) -> Vec<&'static str> {
            self.iter().map(|(name, _)| *name).collect()
        }
    }
}
