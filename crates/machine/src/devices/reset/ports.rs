//! The chipset's ports that reset a PC: system control port A (0x92) and the reset control register (0xcf9).

use crate::bus::BusDevice;
use kvm_accel::Request;
use std::sync::atomic::{AtomicU8, Ordering};

/// A port of one byte that resets the machine. Only an access to this port alone counts.
#[derive(Debug)]
pub struct ResetPort {
    value: AtomicU8,
    kind: &'static Kind,
}

/// What distinguishes the ports.
#[derive(Debug)]
struct Kind {
    /// The port's offset in the claim.
    offset: u64,
    power_on: u8,
    /// The bit that resets.
    reset: u8,
    /// The bits that read as written.
    keeps: u8,
    /// The machine resets only when the bit changes from 0 to 1.
    rising: bool,
}

impl ResetPort {
    /// First port and number of ports of system control port A. Bit 0 resets the processor when it rises. Bit 1 enables address line 20, which is always
    /// enabled here; the bit only reads as written.
    pub const CONTROL_A: (u16, u32) = (0x92, 1);
    /// First port and number of ports of the reset control register, which is at 0xcf9. Bit 2 resets. Bits 1 and 3 select
    /// a hard reset and a power cycle; they read as written, and each kind of reset is the same here.
    ///
    /// The claim covers the address register of PCI's configuration space, because a guest that searches for PCI writes 4
    /// bytes to 0xcf8, which must not reset the machine. Without PCI, that register reads all ones.
    pub const RESET_CONTROL: (u16, u32) = (0xcf8, 4);

    /// Creates system control port A at power-on.
    #[must_use]
    pub const fn control_a() -> Self {
        const KIND: Kind = Kind { offset: 0, power_on: 1 << 1, reset: 1, keeps: 0xff, rising: true };
        Self { value: AtomicU8::new(KIND.power_on), kind: &KIND }
    }

    /// Creates the reset control register at power-on.
    #[must_use]
    pub const fn reset_control() -> Self {
        const KIND: Kind = Kind { offset: 1, power_on: 0, reset: 1 << 2, keeps: 1 << 1 | 1 << 3, rising: false };
        Self { value: AtomicU8::new(KIND.power_on), kind: &KIND }
    }

    /// Resets the register to power-on.
    pub fn reset(&self) {
        self.value.store(self.kind.power_on, Ordering::Relaxed);
    }
}

impl BusDevice for ResetPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let alone = offset == self.kind.offset && data.len() == 1;
        data.fill(if alone { self.value.load(Ordering::Relaxed) } else { 0xff });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let Kind { offset: at, reset, keeps, rising, .. } = *self.kind;
        let &[value] = data else { return None };
        if offset != at {
            return None;
        }
        let before = self.value.swap(value & keeps, Ordering::Relaxed);
        (value & reset != 0 && !(rising && before & reset != 0)).then_some(Request::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(port: &ResetPort) -> u8 {
        let mut data = [0x5a];
        port.read(port.kind.offset, &mut data);
        data[0]
    }

    fn write(port: &ResetPort, value: u8) -> Option<Request> {
        port.write(port.kind.offset, &[value])
    }

    #[test]
    fn test_control_a_resets_when_bit_0_rises() {
        let port = ResetPort::control_a();
        assert_eq!(read(&port), 2);
        assert_eq!(write(&port, 0), None);
        assert_eq!((write(&port, 0x13), read(&port)), (Some(Request::Reset), 0x13));
        assert_eq!(write(&port, 3), None, "the bit has not risen");
        assert_eq!(write(&port, 2), None);
        assert_eq!(write(&port, 3), Some(Request::Reset));
        port.reset();
        assert_eq!(read(&port), 2);
    }

    #[test]
    fn test_reset_control_resets_by_bit_2_and_keeps_the_kind() {
        let port = ResetPort::reset_control();
        assert_eq!(read(&port), 0);
        for (value, kept) in [(4, 0), (6, 2), (0x0e, 0x0a)] {
            assert_eq!(write(&port, value & !4), None);
            assert_eq!((write(&port, value), read(&port)), (Some(Request::Reset), kept));
        }
        port.reset();
        assert_eq!(read(&port), 0);
    }

    #[test]
    fn test_an_address_of_pci_does_not_reset() {
        let port = ResetPort::reset_control();
        for (offset, data) in
            [(0, &[0xff; 4][..]), (0, &[4; 2]), (0, &[4]), (1, &[4; 2]), (1, &[4; 3]), (2, &[4]), (3, &[4])]
        {
            assert_eq!(port.write(offset, data), None);
            let mut read = vec![0; data.len()];
            port.read(offset, &mut read);
            assert!(read.iter().all(|byte| *byte == 0xff));
        }
        assert_eq!(read(&port), 0);
    }
}
