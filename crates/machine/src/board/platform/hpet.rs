//! The HPET.

use super::{Attached, PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::{HPET_BASE, HPET_CLOCK_LINE, HPET_SIZE, HPET_TIMER_LINE, Hpet, HpetLines};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_superio::Trigger;

/// The HPET at its usual address. [`IsaChips`](crate::interrupts::IsaChips) selects it.
pub struct HpetDevice;

impl PlatformDevice for HpetDevice {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let (timer, clock) = (slot.edge(HPET_TIMER_LINE)?, slot.edge(HPET_CLOCK_LINE)?);
        let pulse = move |line| {
            let line = if line == HPET_CLOCK_LINE { &clock } else { &timer };
            // `trigger` of these lines never fails.
            let _ = line.trigger();
        };
        let (pit_replaced, replaced) = (slot.lines.replace_pit(), Arc::clone(&slot.replaced));
        let replace = move |on| {
            replaced.store(on, Ordering::Relaxed);
            pit_replaced(on);
        };
        let hpet = Arc::new(Hpet::new(HpetLines { pulse: Box::new(pulse), replace: Box::new(replace) }));
        slot.memory("HPET", HPET_BASE, HPET_SIZE, Arc::clone(&hpet) as _);
        slot.add_attached(hpet);
        Ok(())
    }
}

impl Attached for Hpet {
    fn reset(&self) {
        Self::reset(self);
    }
}
