//! The CMOS clock.

use super::{Attached, PlatformDevice, Slot};
use crate::acpi::{HardwareId, PlatformEntry};
use crate::board::BoardError;
use crate::devices::{Irq, RTC_BASE, RTC_IRQ, RTC_PORTS, Rtc, RtcConfig};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use vm_superio::Trigger;

impl PlatformDevice for RtcConfig {
    fn acpi_entry(&self) -> Option<PlatformEntry> {
        let ports = (RTC_BASE, 2);
        Some(PlatformEntry { name: "RTC_", id: HardwareId::RTC, ports, line: Some(RTC_IRQ) })
    }

    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let pm = Arc::clone(slot.pm);
        let alarm = Box::new(move || pm.alarm());
        let (line, replaced) = (slot.edge(RTC_IRQ)?, Arc::clone(&slot.replaced));
        let irq = Irq::edge(move || {
            if !replaced.load(Ordering::Relaxed) {
                // `trigger` of this line never fails.
                let _ = line.trigger();
            }
        });
        let rtc = Arc::new(Rtc::new(*self, slot.layout, slot.cpus, irq, alarm));
        slot.ports("RTC", RTC_BASE, RTC_PORTS, Arc::clone(&rtc) as _);
        slot.add_attached(rtc);
        Ok(())
    }
}

impl Attached for Rtc {
    fn reset(&self) {
        Self::reset(self);
    }
}
