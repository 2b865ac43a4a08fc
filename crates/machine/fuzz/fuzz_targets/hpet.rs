//! Fuzzes the HPET with accesses of any width and place, stops and resets. Each step uses twelve bytes of input.
#![no_main]

use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{HPET_SIZE, Hpet, HpetLines};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static HPET: LazyLock<Hpet> =
    LazyLock::new(|| Hpet::new(HpetLines { pulse: Box::new(|_| {}), replace: Box::new(|_| {}) }));

fuzz_target!(|input: &[u8]| {
    HPET.reset();
    HPET.resume();
    for [step, width, low, high, value @ ..] in input.as_chunks::<12>().0.iter().copied() {
        let width = 1_usize << (width & 3);
        // An access is aligned and ends within the device.
        let offset = u64::from(u16::from_le_bytes([low, high])) % HPET_SIZE & !(width as u64 - 1);
        match step & 7 {
            0..4 => drop(HPET.write(offset, &value[..width])),
            4 | 5 => HPET.read(offset, &mut [0; 8][..width]),
            6 => HPET.reset(),
            _ => {
                HPET.interrupt();
                HPET.resume();
            }
        }
    }
    HPET.interrupt();
});
