//! Fuzzes the PIC with accesses, lines and acknowledgements. Each step uses two bytes of input.
#![no_main]

use kvm_accel_machine::devices::{PIC_ELCR, PIC_MASTER, PIC_SLAVE, Pic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut pic = Pic::default();
    for [step, value] in input.as_chunks().0.iter().copied() {
        let port = [PIC_MASTER, PIC_SLAVE, PIC_ELCR][usize::from(step & 3) % 3] + u16::from(step >> 2 & 1);
        match step >> 6 {
            0 => pic.write(port, value),
            1 => drop(pic.read(port)),
            2 => pic.set_line(value & 0x1f, value & 0x80 != 0),
            _ => {
                let pending = pic.pending();
                let vector = pic.acknowledge();
                assert!(pending || vector & 7 == 7, "without a request, the vector is that of line 7 or 15");
            }
        }
    }
});
