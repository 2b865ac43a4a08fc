//! The processor state in which firmware returns control to a guest that slept: real mode, at the guest's waking
//! vector.

use kvm_accel::{Registers, Segment};

/// Returns the registers for a waking vector below 1 MiB. Registers that real mode does not use keep the values of
/// `reset`.
pub fn waking_registers(reset: &Registers, vector: u32) -> Registers {
    /// The attributes: present, readable, writable and accessed. `CODE` is the same, but executable.
    const DATA: Segment = Segment { selector: 0, base: 0, limit: 0xffff, attributes: 0x93 };
    const CODE: u32 = 0x9b;
    /// Cache disabled, not write-through, as after a reset. Paging and protection are off.
    const CR0: u64 = 0x6000_0010;
    let segment = u16::try_from(vector >> 4).unwrap_or(u16::MAX);
    let code = Segment { selector: segment, base: u64::from(segment) << 4, attributes: CODE, ..DATA };
    Registers {
        general: [0; 16],
        rip: (vector & 0xf).into(),
        rflags: 2,
        segments: [DATA, code, DATA, DATA, DATA, DATA],
        gdt: (0, 0xffff),
        idt: (0, 0xffff),
        control: [CR0, 0, 0, 0],
        efer: 0,
        ..reset.clone()
    }
}
