//! QEMU's `pvpanic` (docs/specs/pvpanic): a port through which a guest's kernel reports a panic.

use crate::bus::BusDevice;
use kvm_accel::Request;

/// The port of `-device pvpanic`.
pub const PVPANIC_PORT: u16 = 0x505;

/// The event that the kernel has panicked. The device does not support the event that a crash kernel takes over (bit
/// 1): a driver then writes nothing, and the crash kernel runs.
const PANICKED: u8 = 1;

/// The device. Its port reads as the events that it supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pvpanic;

impl BusDevice for Pvpanic {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(first) = data.first_mut() {
            *first = PANICKED;
        }
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        data.first().filter(|events| **events & PANICKED != 0).map(|_| Request::Panic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_a_panic_event_is_a_request() {
        let mut data = [0xff; 2];
        Pvpanic.read(0, &mut data);
        assert_eq!(data, [1, 0]);
        let requests = [0, 1, 2, 3, 4, 0xff].map(|events| Pvpanic.write(0, &[events]));
        let panic = Some(Request::Panic);
        assert_eq!(requests, [None, panic, None, panic, None, panic]);
    }
}
