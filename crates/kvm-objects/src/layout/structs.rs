//! The structures, in an order in which each follows those that it contains.

use super::{Field, Struct};
use kvm_bindings::*;
use std::mem::offset_of;

/// Returns the size of the member to which `_place` points. `_place` is never called.
fn size_behind<T, F>(_place: fn(*const T) -> *const F) -> usize {
    size_of::<F>()
}

/// `NAME = TYPE as "kernel name" { member: kind, name(path): kind }`. Offset and size come from the type. The kind is
/// checked against the size.
macro_rules! layout {
    ($($name:ident = $type:ty as $kernel:literal { $($field:ident $(($($path:tt)+))? : $kind:tt),* $(,)? })*) => {
        vec![$(Struct {
            name: stringify!($name),
            kernel: $kernel,
            size: size_of::<$type>(),
            fields: vec![$(layout!(@field $type, $field, $kind, $($($path)+)?)),*],
        }),*]
    };
    (@field $type:ty, $field:ident, $kind:tt,) => { layout!(@field $type, $field, $kind, $field) };
    (@field $type:ty, $field:ident, $kind:tt, $($path:tt)+) => {
        Field {
            name: stringify!($field),
            kind: stringify!($kind),
            offset: offset_of!($type, $($path)+),
            // SAFETY: never called; only the type of the pointer is used.
            size: size_behind(|it: *const $type| unsafe { &raw const (*it).$($path)+ }),
        }
    };
}

/// The structures that KVM_RUN writes.
pub fn run() -> Vec<Struct> {
    layout! {
        KvmRunHw = kvm_run__bindgen_ty_1__bindgen_ty_1 as "kvm_run.hw" { hardware_exit_reason: u64 }
        KvmRunFailEntry = kvm_run__bindgen_ty_1__bindgen_ty_2 as "kvm_run.fail_entry" {
            hardware_entry_failure_reason: u64, cpu: u32,
        }
        KvmRunEx = kvm_run__bindgen_ty_1__bindgen_ty_3 as "kvm_run.ex" { exception: u32, error_code: u32 }
        KvmRunIo = kvm_run__bindgen_ty_1__bindgen_ty_4 as "kvm_run.io" {
            direction: u8, size: u8, port: u16, count: u32, data_offset: gpa,
        }
        KvmDebugExitArch = kvm_debug_exit_arch as "kvm_debug_exit_arch" { exception: u32, pc: u64, dr6: u64, dr7: u64 }
        KvmRunDebug = kvm_run__bindgen_ty_1__bindgen_ty_5 as "kvm_run.debug" { arch: KvmDebugExitArch }
        KvmRunMmio = kvm_run__bindgen_ty_1__bindgen_ty_6 as "kvm_run.mmio" {
            phys_addr: gpa, data: [u8; 8], len: u32, is_write: u8,
        }
        KvmRunHypercall = kvm_run__bindgen_ty_1__bindgen_ty_8 as "kvm_run.hypercall" {
            nr: u64, args: [u64; 6], ret: u64, flags(__bindgen_anon_1.flags): u64,
        }
        KvmRunTprAccess = kvm_run__bindgen_ty_1__bindgen_ty_9 as "kvm_run.tpr_access" { rip: u64, is_write: u32 }
        KvmRunInternal = kvm_run__bindgen_ty_1__bindgen_ty_13 as "kvm_run.internal" {
            suberror: u32, ndata: u32, data: [u64; 16],
        }
        KvmRunEmulationFailure = kvm_run__bindgen_ty_1__bindgen_ty_14 as "kvm_run.emulation_failure" {
            suberror: u32, ndata: u32, flags: u64,
            insn_size(__bindgen_anon_1.__bindgen_anon_1.insn_size): u8,
            insn_bytes(__bindgen_anon_1.__bindgen_anon_1.insn_bytes): [u8; 15],
        }
        KvmRunSystemEvent = kvm_run__bindgen_ty_1__bindgen_ty_19 as "kvm_run.system_event" {
            type_: u32, ndata: u32, data(__bindgen_anon_1.data): [u64; 16],
        }
        KvmRunEoi = kvm_run__bindgen_ty_1__bindgen_ty_21 as "kvm_run.eoi" { vector: u8 }
        KvmRunMsr = kvm_run__bindgen_ty_1__bindgen_ty_23 as "kvm_run.msr" { error: u8, reason: u32, index: u32, data: u64 }
        KvmRunNotify = kvm_run__bindgen_ty_1__bindgen_ty_26 as "kvm_run.notify" { flags: u32 }
        KvmRunMemoryFault = kvm_run__bindgen_ty_1__bindgen_ty_27 as "kvm_run.memory_fault" {
            flags: u64, gpa: gpa, size: gpa,
        }
        KvmRun = kvm_run as "kvm_run" {
            request_interrupt_window: u8, immediate_exit: u8, exit_reason: u32, ready_for_interrupt_injection: u8,
            if_flag: u8, flags: u16, cr8: u64, apic_base: u64,
            hw(__bindgen_anon_1.hw): KvmRunHw,
            fail_entry(__bindgen_anon_1.fail_entry): KvmRunFailEntry,
            ex(__bindgen_anon_1.ex): KvmRunEx,
            io(__bindgen_anon_1.io): KvmRunIo,
            debug(__bindgen_anon_1.debug): KvmRunDebug,
            mmio(__bindgen_anon_1.mmio): KvmRunMmio,
            hypercall(__bindgen_anon_1.hypercall): KvmRunHypercall,
            tpr_access(__bindgen_anon_1.tpr_access): KvmRunTprAccess,
            internal(__bindgen_anon_1.internal): KvmRunInternal,
            emulation_failure(__bindgen_anon_1.emulation_failure): KvmRunEmulationFailure,
            system_event(__bindgen_anon_1.system_event): KvmRunSystemEvent,
            eoi(__bindgen_anon_1.eoi): KvmRunEoi,
            msr(__bindgen_anon_1.msr): KvmRunMsr,
            notify(__bindgen_anon_1.notify): KvmRunNotify,
            memory_fault(__bindgen_anon_1.memory_fault): KvmRunMemoryFault,
            kvm_valid_regs: u64, kvm_dirty_regs: u64,
        }
    }
}

/// The structures of a vCPU's state.
pub fn vcpu() -> Vec<Struct> {
    layout! {
        KvmRegs = kvm_regs as "kvm_regs" {
            rax: u64, rbx: u64, rcx: u64, rdx: u64, rsi: u64, rdi: u64, rsp: u64, rbp: u64, r8: u64, r9: u64, r10: u64,
            r11: u64, r12: u64, r13: u64, r14: u64, r15: u64, rip: u64, rflags: u64,
        }
        KvmSegment = kvm_segment as "kvm_segment" {
            base: u64, limit: u32, selector: u16, type_: u8, present: u8, dpl: u8, db: u8, s: u8, l: u8, g: u8, avl: u8,
            unusable: u8,
        }
        KvmDtable = kvm_dtable as "kvm_dtable" { base: u64, limit: u16 }
        KvmSregs = kvm_sregs as "kvm_sregs" {
            cs: KvmSegment, ds: KvmSegment, es: KvmSegment, fs: KvmSegment, gs: KvmSegment, ss: KvmSegment,
            tr: KvmSegment, ldt: KvmSegment, gdt: KvmDtable, idt: KvmDtable, cr0: u64, cr2: u64, cr3: u64, cr4: u64,
            cr8: u64, efer: u64, apic_base: u64, interrupt_bitmap: [u64; 4],
        }
        KvmSregs2 = kvm_sregs2 as "kvm_sregs2" {
            cs: KvmSegment, ds: KvmSegment, es: KvmSegment, fs: KvmSegment, gs: KvmSegment, ss: KvmSegment,
            tr: KvmSegment, ldt: KvmSegment, gdt: KvmDtable, idt: KvmDtable, cr0: u64, cr2: u64, cr3: u64, cr4: u64,
            cr8: u64, efer: u64, apic_base: u64, flags: u64, pdptrs: [u64; 4],
        }
        KvmFpu = kvm_fpu as "kvm_fpu" {
            fpr: [u8; 128], fcw: u16, fsw: u16, ftwx: u8, last_opcode: u16, last_ip: u64, last_dp: u64, xmm: [u8; 256],
            mxcsr: u32,
        }
        KvmXcr = kvm_xcr as "kvm_xcr" { xcr: u32, value: u64 }
        KvmXcrs = kvm_xcrs as "kvm_xcrs" { nr_xcrs: u32, flags: u32, xcrs: [KvmXcr; 16] }
        KvmDebugregs = kvm_debugregs as "kvm_debugregs" { db: [u64; 4], dr6: u64, dr7: u64, flags: u64 }
        KvmVcpuEventsException = kvm_vcpu_events__bindgen_ty_1 as "kvm_vcpu_events.exception" {
            injected: u8, nr: u8, has_error_code: u8, pending: u8, error_code: u32,
        }
        KvmVcpuEventsInterrupt = kvm_vcpu_events__bindgen_ty_2 as "kvm_vcpu_events.interrupt" {
            injected: u8, nr: u8, soft: u8, shadow: u8,
        }
        KvmVcpuEventsNmi = kvm_vcpu_events__bindgen_ty_3 as "kvm_vcpu_events.nmi" { injected: u8, pending: u8, masked: u8 }
        KvmVcpuEventsSmi = kvm_vcpu_events__bindgen_ty_4 as "kvm_vcpu_events.smi" {
            smm: u8, pending: u8, smm_inside_nmi: u8, latched_init: u8,
        }
        KvmVcpuEventsTripleFault = kvm_vcpu_events__bindgen_ty_5 as "kvm_vcpu_events.triple_fault" { pending: u8 }
        KvmVcpuEvents = kvm_vcpu_events as "kvm_vcpu_events" {
            exception: KvmVcpuEventsException, interrupt: KvmVcpuEventsInterrupt, nmi: KvmVcpuEventsNmi, sipi_vector: u32,
            flags: u32, smi: KvmVcpuEventsSmi, triple_fault: KvmVcpuEventsTripleFault, exception_has_payload: u8,
            exception_payload: u64,
        }
        KvmMpState = kvm_mp_state as "kvm_mp_state" { mp_state: u32 }
        KvmLapicState = kvm_lapic_state as "kvm_lapic_state" { regs: [u8; 1024] }
        KvmGuestDebugArch = kvm_guest_debug_arch as "kvm_guest_debug_arch" { debugreg: [u64; 8] }
        KvmGuestDebug = kvm_guest_debug as "kvm_guest_debug" { control: u32, arch: KvmGuestDebugArch }
        KvmTranslation = kvm_translation as "kvm_translation" {
            linear_address: u64, physical_address: gpa, valid: u8, writeable: u8, usermode: u8,
        }
        KvmCpuidEntry2 = kvm_cpuid_entry2 as "kvm_cpuid_entry2" {
            function: u32, index: u32, flags: u32, eax: u32, ebx: u32, ecx: u32, edx: u32,
        }
        KvmMsrEntry = kvm_msr_entry as "kvm_msr_entry" { index: u32, data: u64 }
    }
}

/// The structures of a VM's state and of its calls.
pub fn vm() -> Vec<Struct> {
    layout! {
        KvmEnableCap = kvm_enable_cap as "kvm_enable_cap" { cap: u32, flags: u32, args: [u64; 4] }
        KvmIrqLevel = kvm_irq_level as "kvm_irq_level" { irq(__bindgen_anon_1.irq): u32, level: u32 }
        KvmPicState = kvm_pic_state as "kvm_pic_state" {
            last_irr: u8, irr: u8, imr: u8, isr: u8, priority_add: u8, irq_base: u8, read_reg_select: u8, poll: u8,
            special_mask: u8, init_state: u8, auto_eoi: u8, rotate_on_auto_eoi: u8, special_fully_nested_mode: u8,
            init4: u8, elcr: u8, elcr_mask: u8,
        }
        KvmIoapicState = kvm_ioapic_state as "kvm_ioapic_state" {
            base_address: gpa, ioregsel: u32, id: u32, irr: u32, redirtbl: [u64; 24],
        }
        KvmIrqchip = kvm_irqchip as "kvm_irqchip" {
            chip_id: u32, pic(chip.pic): KvmPicState, ioapic(chip.ioapic): KvmIoapicState,
        }
        KvmPitConfig = kvm_pit_config as "kvm_pit_config" { flags: u32 }
        KvmPitChannelState = kvm_pit_channel_state as "kvm_pit_channel_state" {
            count: u32, latched_count: u16, count_latched: u8, status_latched: u8, status: u8, read_state: u8,
            write_state: u8, write_latch: u8, rw_mode: u8, mode: u8, bcd: u8, gate: u8, count_load_time: i64,
        }
        KvmPitState2 = kvm_pit_state2 as "kvm_pit_state2" { channels: [KvmPitChannelState; 3], flags: u32 }
        KvmClockData = kvm_clock_data as "kvm_clock_data" { clock: u64, flags: u32, realtime: u64, host_tsc: u64 }
        KvmIrqRoutingIrqchip = kvm_irq_routing_irqchip as "kvm_irq_routing_irqchip" { irqchip: u32, pin: u32 }
        KvmIrqRoutingMsi = kvm_irq_routing_msi as "kvm_irq_routing_msi" {
            address_lo: u32, address_hi: u32, data: u32, devid(__bindgen_anon_1.devid): u32,
        }
        KvmIrqRoutingEntry = kvm_irq_routing_entry as "kvm_irq_routing_entry" {
            gsi: u32, type_: u32, flags: u32, irqchip(u.irqchip): KvmIrqRoutingIrqchip, msi(u.msi): KvmIrqRoutingMsi,
        }
        KvmMsi = kvm_msi as "kvm_msi" { address_lo: u32, address_hi: u32, data: u32, flags: u32, devid: u32 }
        KvmIrqfd = kvm_irqfd as "kvm_irqfd" { fd: u32, gsi: u32, flags: u32, resamplefd: u32 }
        KvmIoeventfd = kvm_ioeventfd as "kvm_ioeventfd" { datamatch: u64, addr: gpa, len: u32, fd: i32, flags: u32 }
        KvmCoalescedMmioZone = kvm_coalesced_mmio_zone as "kvm_coalesced_mmio_zone" {
            addr: gpa, size: u32, pio(__bindgen_anon_1.pio): u32,
        }
        KvmCoalescedMmio = kvm_coalesced_mmio as "kvm_coalesced_mmio" {
            phys_addr: gpa, len: u32, pio(__bindgen_anon_1.pio): u32, data: [u8; 8],
        }
        KvmReinjectControl = kvm_reinject_control as "kvm_reinject_control" { pit_reinject: u8 }
    }
}
