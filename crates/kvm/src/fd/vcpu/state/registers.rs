//! Converts general and special registers to and from [`Registers`].

use super::Vcpu;
use crate::state::{Registers, Segment};
use crate::upstream::vcpu::{get_sregs2, set_sregs2};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs, kvm_sregs2};

/// KVM_SREGS2_FLAGS_PDPTRS_VALID.
const PDPTRS_VALID: u64 = 1;
/// RFLAGS.VM: virtual-8086 mode.
const RFLAGS_VM: u64 = 1 << 17;
/// The attributes that the processor requires of every segment in virtual-8086 mode: type 3, S, DPL 3, present.
const VM86_ATTRIBUTES: u32 = 0xf3;

impl Vcpu {
    pub(super) fn special_registers(&self) -> crate::Result<Registers> {
        if !self.features.sregs2 {
            return Ok(special(&self.fd.get_sregs().map_err(self.failed("KVM_GET_SREGS"))?));
        }
        let sregs = get_sregs2(&self.fd).map_err(self.failed("KVM_GET_SREGS2"))?;
        let pdptrs = (sregs.flags & PDPTRS_VALID != 0).then_some(sregs.pdptrs);
        Ok(Registers { pdptrs, ..special(&narrow(&sregs)) })
    }

    pub(super) fn set_special_registers(&self, registers: &Registers) -> crate::Result<()> {
        let sregs = to_sregs(registers);
        if !self.features.sregs2 {
            return self.fd.set_sregs(&sregs).map_err(self.failed("KVM_SET_SREGS"));
        }
        set_sregs2(&self.fd, &widen(&sregs, registers.pdptrs)).map_err(self.failed("KVM_SET_SREGS2"))
    }
}

/// Returns the registers that reports and events show.
pub fn registers_of(regs: &kvm_regs, sregs: &kvm_sregs) -> Registers {
    with_general(special(sregs), regs)
}

pub(super) fn with_general(registers: Registers, regs: &kvm_regs) -> Registers {
    Registers {
        general: [
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp, regs.r8, regs.r9, regs.r10,
            regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
        ],
        rip: regs.rip,
        rflags: regs.rflags,
        ..registers
    }
}

pub(super) const fn general(registers: &Registers) -> kvm_regs {
    let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] = registers.general;
    let Registers { rip, rflags, .. } = *registers;
    kvm_regs { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags }
}

fn special(sregs: &kvm_sregs) -> Registers {
    Registers {
        segments: [&sregs.es, &sregs.cs, &sregs.ss, &sregs.ds, &sregs.fs, &sregs.gs].map(segment),
        ldt: segment(&sregs.ldt),
        tr: segment(&sregs.tr),
        gdt: (sregs.gdt.base, sregs.gdt.limit),
        idt: (sregs.idt.base, sregs.idt.limit),
        control: [sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4],
        cr8: sregs.cr8,
        efer: sregs.efer,
        apic_base: sregs.apic_base,
        ..Registers::default()
    }
}

/// The interrupt bitmap stays empty: the events that are written afterwards contain pending interrupts.
fn to_sregs(registers: &Registers) -> kvm_sregs {
    let vm86 = registers.rflags & RFLAGS_VM != 0;
    let [es, cs, ss, ds, fs, gs] = registers
        .segments
        .map(|segment| to_segment(&if vm86 { Segment { attributes: VM86_ATTRIBUTES, ..segment } } else { segment }));
    let table = |(base, limit)| kvm_dtable { base, limit, ..Default::default() };
    let [cr0, cr2, cr3, cr4] = registers.control;
    kvm_sregs {
        cs,
        ds,
        es,
        fs,
        gs,
        ss,
        tr: to_segment(&registers.tr),
        ldt: to_segment(&registers.ldt),
        gdt: table(registers.gdt),
        idt: table(registers.idt),
        cr0,
        cr2,
        cr3,
        cr4,
        cr8: registers.cr8,
        efer: registers.efer,
        apic_base: registers.apic_base,
        interrupt_bitmap: [0; 4],
    }
}

/// Converts a segment. `unusable` is not stored: it is the negation of `present`, on every vendor's processors.
fn segment(s: &kvm_segment) -> Segment {
    Segment {
        selector: s.selector,
        base: s.base,
        limit: s.limit,
        attributes: u32::from(s.type_)
            | u32::from(s.s) << 4
            | u32::from(s.dpl) << 5
            | u32::from(s.present) << 7
            | u32::from(s.avl) << 12
            | u32::from(s.l) << 13
            | u32::from(s.db) << 14
            | u32::from(s.g) << 15,
    }
}

fn to_segment(s: &Segment) -> kvm_segment {
    let bits = |from: u32, mask: u32| u8::try_from(s.attributes >> from & mask).unwrap_or(0);
    let present = bits(7, 1);
    kvm_segment {
        base: s.base,
        limit: s.limit,
        selector: s.selector,
        type_: bits(0, 15),
        present,
        dpl: bits(5, 3),
        db: bits(14, 1),
        s: bits(4, 1),
        l: bits(13, 1),
        g: bits(15, 1),
        avl: bits(12, 1),
        unusable: 1 - present,
        padding: 0,
    }
}

fn narrow(s: &kvm_sregs2) -> kvm_sregs {
    let kvm_sregs2 { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, .. } = *s;
    let interrupt_bitmap = [0; 4];
    kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, interrupt_bitmap }
}

fn widen(s: &kvm_sregs, pdptrs: Option<[u64; 4]>) -> kvm_sregs2 {
    let kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, .. } = *s;
    let (flags, pdptrs) = pdptrs.map_or((0, [0; 4]), |pdptrs| (PDPTRS_VALID, pdptrs));
    kvm_sregs2 { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr2, cr3, cr4, cr8, efer, apic_base, flags, pdptrs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn segments()(selector: u16, base: u64, limit: u32, attributes: u32) -> Segment {
            Segment { selector, base, limit, attributes: attributes & 0xf0ff }
        }
    }

    prop_compose! {
        fn all_registers()(
            general: [u64; 16],
            (rip, rflags) in (any::<u64>(), any::<u64>().prop_map(|flags| flags & !RFLAGS_VM)),
            segments in [(); 6].map(|()| segments()),
            (ldt, tr) in (segments(), segments()),
            (gdt, idt) in any::<((u64, u16), (u64, u16))>(),
            control: [u64; 4],
            (cr8, efer, apic_base, pdptrs) in any::<(u64, u64, u64, Option<[u64; 4]>)>(),
        ) -> Registers {
            Registers { general, rip, rflags, segments, ldt, tr, gdt, idt, control, cr8, efer, apic_base, pdptrs }
        }
    }

    proptest! {
        #[test]
        fn test_registers_round_trip(registers in all_registers()) {
            let wide = widen(&to_sregs(&registers), registers.pdptrs);
            let pdptrs = (wide.flags == PDPTRS_VALID).then_some(wide.pdptrs);
            let back = with_general(Registers { pdptrs, ..special(&narrow(&wide)) }, &general(&registers));
            prop_assert_eq!(back, registers);
        }

        #[test]
        fn test_virtual_8086_mode_fixes_segment_attributes(registers in all_registers()) {
            let sregs = to_sregs(&Registers { rflags: registers.rflags | RFLAGS_VM, ..registers });
            for s in [sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss] {
                prop_assert_eq!((s.type_, s.dpl, s.present, s.s, s.db, s.l, s.g, s.unusable), (3, 3, 1, 1, 0, 0, 0, 0));
            }
        }
    }
}
