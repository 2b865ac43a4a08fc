//! Maps the registers of the controllers outside the kernel to ports and addresses.

use super::UserChips;
use crate::bus::{BusBuilder, BusDevice};
use crate::devices::{IOAPIC_BASE, IOAPIC_LEN, PIC_ELCR, PIC_MASTER, PIC_SLAVE, PIT_BASE, PORT_B};
use kvm_accel::Request;
use std::sync::Arc;

pub(super) fn place(chips: &Arc<UserChips>, mut bus: BusBuilder) -> BusBuilder {
    let pic = |base| Arc::new(PicPorts { chips: Arc::clone(chips), base });
    let pit = |base| Arc::new(PitPorts { chips: Arc::clone(chips), base });
    if chips.present().pic {
        bus = bus.ports("PIC", PIC_MASTER, 2, pic(PIC_MASTER)).ports("PIC", PIC_SLAVE, 2, pic(PIC_SLAVE)).ports(
            "PIC",
            PIC_ELCR,
            2,
            pic(PIC_ELCR),
        );
    }
    if chips.present().pit {
        bus = bus.ports("PIT", PIT_BASE, 4, pit(PIT_BASE)).ports("PIT", PORT_B, 1, pit(PORT_B));
    }
    if !chips.has_ioapic() {
        return bus;
    }
    bus.memory("IOAPIC", IOAPIC_BASE, IOAPIC_LEN, Arc::new(IoapicMemory { chips: Arc::clone(chips) }))
}

/// Returns the port at an offset. It fits, because a device's claim ends before 0x10000.
fn port(base: u16, offset: u64, index: usize) -> u16 {
    u16::try_from(offset + index as u64).map_or(u16::MAX, |offset| base.saturating_add(offset))
}

struct PicPorts {
    chips: Arc<UserChips>,
    base: u16,
}

impl BusDevice for PicPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.chips.read_pic(port(self.base, offset, index));
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        for (index, byte) in data.iter().enumerate() {
            self.chips.write_pic(port(self.base, offset, index), *byte);
        }
        None
    }
}

struct PitPorts {
    chips: Arc<UserChips>,
    base: u16,
}

impl BusDevice for PitPorts {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.chips.read_pit(port(self.base, offset, index));
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        for (index, byte) in data.iter().enumerate() {
            self.chips.write_pit(port(self.base, offset, index), *byte);
        }
        None
    }

    fn interrupt(&self) {
        self.chips.stop_clock();
    }

    fn resume(&self) {
        self.chips.start_clock();
    }
}

struct IoapicMemory {
    chips: Arc<UserChips>,
}

impl BusDevice for IoapicMemory {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let value = self.chips.read_ioapic(offset).to_le_bytes();
        data.fill(0);
        data.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let mut value = [0; 4];
        value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        self.chips.write_ioapic(offset, u32::from_le_bytes(value));
        None
    }
}
