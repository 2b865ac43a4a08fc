//! Fuzzes the CMOS clock with accesses, stops and resets. Each step uses two bytes of input.
#![no_main]

use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{Irq, RTC_PORTS, Rtc, RtcConfig};
use kvm_accel_machine::layout::RamLayout;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// A clock with a thread, which stays across inputs: it has to be ready for any state that a guest leaves.
static CLOCKS: LazyLock<[Rtc; 2]> = LazyLock::new(|| {
    [false, true].map(|stops| {
        let layout = RamLayout::new(2 << 20).expect("the size is valid");
        let irq = Irq::edge(|| {
            INTERRUPTS.fetch_add(1, Ordering::Relaxed);
        });
        Rtc::new(RtcConfig { offset: 0, stops }, &layout, 1, irq, Box::new(|| {}))
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, input)) = input.split_first() else { return };
    let clock = &CLOCKS[usize::from(choice & 1)];
    for [step, value] in input.as_chunks().0.iter().copied() {
        let offset = u64::from(step & 1);
        let width = if offset == 0 && step & 2 != 0 { RTC_PORTS as usize } else { 1 };
        let before = INTERRUPTS.load(Ordering::Relaxed);
        match step >> 5 {
            0..4 => drop(clock.write(offset, &[value, step][..width])),
            4 | 5 => clock.read(offset, &mut [0; 2][..width]),
            6 => {
                clock.interrupt();
                clock.resume();
            }
            _ => clock.reset(),
        }
        // Its thread interrupts at most 8192 times a second.
        assert!(INTERRUPTS.load(Ordering::Relaxed) - before < 8192, "an access interrupts without end");
    }
});
