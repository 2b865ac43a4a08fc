//! Fuzzes the PIT with accesses at any time. Each access uses four bytes of input.
#![no_main]

use kvm_accel_machine::devices::{PIT_BASE, PORT_B, Pit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut pit = Pit::default();
    let mut now = 0;
    for [access, value, later, unit] in input.as_chunks().0.iter().copied() {
        now += u64::from(later) << (unit % 40);
        let port = if access & 0x80 == 0 { PIT_BASE + u16::from(access & 3) } else { PORT_B };
        if access & 0x40 == 0 {
            pit.write(port, value, now);
        } else {
            let _ = pit.read(port, now);
        }
        assert!(pit.next_tick(now).is_none_or(|tick| tick > now), "a tick is in the future");
    }
});
