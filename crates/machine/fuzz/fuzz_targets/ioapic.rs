//! Fuzzes the IOAPIC with accesses, lines and ends of interrupts. Each step uses six bytes of input.
#![no_main]

use kvm_accel_machine::devices::{IOAPIC_PINS, Ioapic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut ioapic = Ioapic::default();
    for [step, offset, v0, v1, v2, v3] in input.as_chunks().0.iter().copied() {
        // Select, window, end of interrupt, or any offset.
        let offset = [0, 0x10, 0x40, u64::from(offset) << 4][usize::from(offset & 3)];
        let acknowledged = match step & 3 {
            0 => {
                let written = ioapic.write(offset, u32::from_le_bytes([v0, v1, v2, v3]));
                assert!(written.changed.is_none_or(|pin| pin < IOAPIC_PINS));
                written.acknowledged
            }
            1 => {
                let _ = ioapic.read(offset);
                continue;
            }
            2 => {
                let sent = ioapic.set_line(v0 & 0x3f, v1 & 1 != 0);
                assert!(sent.is_none() || ioapic.route(v0 & 0x3f).is_some(), "a masked pin has sent a message");
                continue;
            }
            _ => ioapic.end_of_interrupt(v0),
        };
        assert!(acknowledged.len() <= usize::from(IOAPIC_PINS), "a pin is acknowledged twice");
    }
});
