//! Converts the state of a vCPU to and from JavaScript.

use super::registers::{BindingRegisters, registers};
use kvm_accel::state::{DebugRegisters, Events, Exception, Interrupt, Msr, Nested, Nmi, Smi};
use kvm_accel::{Registers, Segment, VcpuState};
use napi::bindgen_prelude::{BigInt, Uint8Array};
use napi_derive::napi;

/// The whole state of one vCPU in the kernel.
#[napi(object)]
pub struct BindingVcpuState {
    pub general: BindingRegisters,
    pub segments: BindingSegments,
    pub tables: BindingTables,
    pub control: BindingControl,
    pub xcr0: Option<BigInt>,
    pub xsave: Uint8Array,
    pub msrs: Vec<BindingMsr>,
    pub events: BindingVcpuEvents,
    pub debug: BindingDebugRegisters,
    /// KVM_MP_STATE_*.
    pub mp_state: u32,
    pub lapic: Option<Uint8Array>,
    pub nested: Option<BindingNested>,
    pub tsc_khz: Option<u32>,
}

/// A segment register with its hidden part.
#[napi(object)]
pub struct BindingSegment {
    pub selector: u32,
    pub base: BigInt,
    pub limit: u32,
    pub attributes: u32,
}

/// The segment registers.
#[napi(object)]
pub struct BindingSegments {
    pub es: BindingSegment,
    pub cs: BindingSegment,
    pub ss: BindingSegment,
    pub ds: BindingSegment,
    pub fs: BindingSegment,
    pub gs: BindingSegment,
    pub ldt: BindingSegment,
    pub tr: BindingSegment,
}

/// A descriptor table.
#[napi(object)]
pub struct BindingTable {
    pub base: BigInt,
    pub limit: u32,
}

/// The descriptor tables.
#[napi(object)]
pub struct BindingTables {
    pub gdt: BindingTable,
    pub idt: BindingTable,
}

/// Control registers.
#[napi(object)]
pub struct BindingControl {
    pub cr0: BigInt,
    pub cr2: BigInt,
    pub cr3: BigInt,
    pub cr4: BigInt,
    pub cr8: BigInt,
    pub efer: BigInt,
    pub apic_base: BigInt,
    pub pdptrs: Option<Vec<BigInt>>,
}

/// One MSR.
#[napi(object)]
pub struct BindingMsr {
    pub index: u32,
    pub value: BigInt,
}

/// A pending or injected exception.
#[napi(object)]
pub struct BindingException {
    pub vector: u32,
    pub injected: bool,
    pub error_code: Option<u32>,
    pub payload: Option<BigInt>,
}

/// A pending or injected interrupt.
#[napi(object)]
pub struct BindingInterrupt {
    pub vector: u32,
    pub soft: bool,
}

/// Non-maskable interrupts.
#[napi(object)]
pub struct BindingNmi {
    pub injected: bool,
    pub pending: u32,
    pub masked: bool,
}

/// System management mode.
#[napi(object)]
pub struct BindingSmi {
    pub smm: bool,
    pub pending: bool,
    pub smm_inside_nmi: bool,
    pub latched_init: bool,
}

/// Events that the vCPU is about to deliver to the guest.
#[napi(object)]
pub struct BindingVcpuEvents {
    pub exception: Option<BindingException>,
    pub interrupt: Option<BindingInterrupt>,
    pub interrupt_shadow: u32,
    pub nmi: BindingNmi,
    pub sipi_vector: u32,
    pub smi: BindingSmi,
    pub triple_fault: bool,
}

/// Debug registers.
#[napi(object)]
pub struct BindingDebugRegisters {
    pub dr0: BigInt,
    pub dr1: BigInt,
    pub dr2: BigInt,
    pub dr3: BigInt,
    pub dr6: BigInt,
    pub dr7: BigInt,
}

/// The nested virtualisation state of a guest that is itself a hypervisor.
#[napi(object)]
pub struct BindingNested {
    pub flags: u32,
    /// 0 is VMX, 1 is SVM.
    pub format: u32,
    pub data: Uint8Array,
}

/// Converts a BigInt to 64 bits. TypeScript has checked its range.
fn word(value: &BigInt) -> u64 {
    value.get_u64().1
}

fn byte(value: u32) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn half(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

impl From<VcpuState> for BindingVcpuState {
    fn from(state: VcpuState) -> Self {
        let r = &state.registers;
        let [es, cs, ss, ds, fs, gs] = r.segments.map(Into::into);
        let [cr0, cr2, cr3, cr4] = r.control.map(BigInt::from);
        let [dr0, dr1, dr2, dr3] = state.debug.addresses.map(BigInt::from);
        Self {
            general: registers(r),
            segments: BindingSegments { es, cs, ss, ds, fs, gs, ldt: r.ldt.into(), tr: r.tr.into() },
            tables: BindingTables { gdt: table(r.gdt), idt: table(r.idt) },
            control: BindingControl {
                cr0,
                cr2,
                cr3,
                cr4,
                cr8: r.cr8.into(),
                efer: r.efer.into(),
                apic_base: r.apic_base.into(),
                pdptrs: r.pdptrs.map(|pdptrs| pdptrs.map(BigInt::from).into()),
            },
            xcr0: state.xcr0.map(Into::into),
            xsave: state.xsave.into(),
            msrs: state.msrs.iter().map(|msr| BindingMsr { index: msr.index, value: msr.value.into() }).collect(),
            events: state.events.into(),
            debug: BindingDebugRegisters {
                dr0,
                dr1,
                dr2,
                dr3,
                dr6: state.debug.dr6.into(),
                dr7: state.debug.dr7.into(),
            },
            mp_state: state.mp_state.into(),
            lapic: state.lapic.map(Into::into),
            nested: state.nested.map(|nested| BindingNested {
                flags: nested.flags.into(),
                format: nested.format.into(),
                data: nested.data.into(),
            }),
            tsc_khz: state.tsc_khz,
        }
    }
}

impl From<BindingVcpuState> for VcpuState {
    fn from(state: BindingVcpuState) -> Self {
        let BindingSegments { es, cs, ss, ds, fs, gs, ldt, tr } = &state.segments;
        let (g, c, d) = (&state.general, &state.control, &state.debug);
        let pdptrs = c.pdptrs.as_ref().and_then(|pdptrs| pdptrs.iter().map(word).collect::<Vec<_>>().try_into().ok());
        Self {
            registers: Registers {
                general: [
                    &g.rax, &g.rbx, &g.rcx, &g.rdx, &g.rsi, &g.rdi, &g.rbp, &g.rsp, &g.r8, &g.r9, &g.r10, &g.r11,
                    &g.r12, &g.r13, &g.r14, &g.r15,
                ]
                .map(word),
                rip: word(&g.rip),
                rflags: word(&g.rflags),
                segments: [es, cs, ss, ds, fs, gs].map(segment),
                ldt: segment(ldt),
                tr: segment(tr),
                gdt: (word(&state.tables.gdt.base), half(state.tables.gdt.limit)),
                idt: (word(&state.tables.idt.base), half(state.tables.idt.limit)),
                control: [&c.cr0, &c.cr2, &c.cr3, &c.cr4].map(word),
                cr8: word(&c.cr8),
                efer: word(&c.efer),
                apic_base: word(&c.apic_base),
                pdptrs,
            },
            xsave: state.xsave.to_vec(),
            xcr0: state.xcr0.as_ref().map(word),
            msrs: state.msrs.iter().map(|msr| Msr { index: msr.index, value: word(&msr.value) }).collect(),
            events: events(&state.events),
            debug: DebugRegisters {
                addresses: [&d.dr0, &d.dr1, &d.dr2, &d.dr3].map(word),
                dr6: word(&d.dr6),
                dr7: word(&d.dr7),
            },
            mp_state: state.mp_state.into(),
            lapic: state.lapic.map(|lapic| lapic.to_vec()),
            nested: state.nested.map(|nested| Nested {
                flags: half(nested.flags),
                format: half(nested.format),
                data: nested.data.to_vec(),
            }),
            tsc_khz: state.tsc_khz,
        }
    }
}

impl From<Segment> for BindingSegment {
    fn from(Segment { selector, base, limit, attributes }: Segment) -> Self {
        Self { selector: selector.into(), base: base.into(), limit, attributes }
    }
}

fn segment(s: &BindingSegment) -> Segment {
    Segment { selector: half(s.selector), base: word(&s.base), limit: s.limit, attributes: s.attributes }
}

fn table((base, limit): (u64, u16)) -> BindingTable {
    BindingTable { base: base.into(), limit: limit.into() }
}

impl From<Events> for BindingVcpuEvents {
    fn from(events: Events) -> Self {
        let Nmi { injected, pending, masked } = events.nmi;
        let Smi { smm, pending: smi, smm_inside_nmi, latched_init } = events.smi;
        Self {
            exception: events.exception.map(|exception| BindingException {
                vector: exception.vector.into(),
                injected: exception.injected,
                error_code: exception.error_code,
                payload: exception.payload.map(Into::into),
            }),
            interrupt: events
                .interrupt
                .map(|Interrupt { vector, soft }| BindingInterrupt { vector: vector.into(), soft }),
            interrupt_shadow: events.interrupt_shadow.into(),
            nmi: BindingNmi { injected, pending: pending.into(), masked },
            sipi_vector: events.sipi_vector,
            smi: BindingSmi { smm, pending: smi, smm_inside_nmi, latched_init },
            triple_fault: events.triple_fault,
        }
    }
}

fn events(events: &BindingVcpuEvents) -> Events {
    let (nmi, smi) = (&events.nmi, &events.smi);
    Events {
        exception: events.exception.as_ref().map(|exception| Exception {
            vector: byte(exception.vector),
            injected: exception.injected,
            error_code: exception.error_code,
            payload: exception.payload.as_ref().map(word),
        }),
        interrupt: events
            .interrupt
            .as_ref()
            .map(|interrupt| Interrupt { vector: byte(interrupt.vector), soft: interrupt.soft }),
        interrupt_shadow: byte(events.interrupt_shadow),
        nmi: Nmi { injected: nmi.injected, pending: byte(nmi.pending), masked: nmi.masked },
        sipi_vector: events.sipi_vector,
        smi: Smi {
            smm: smi.smm,
            pending: smi.pending,
            smm_inside_nmi: smi.smm_inside_nmi,
            latched_init: smi.latched_init,
        },
        triple_fault: events.triple_fault,
    }
}
