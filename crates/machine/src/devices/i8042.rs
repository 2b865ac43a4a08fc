//! The keyboard controller, as far as machines without a keyboard need it: its line to the processor's reset pin.

use crate::bus::BusDevice;
use kvm_accel::Request;

/// Commands are written here and the status is read from here.
pub const I8042_COMMAND_PORT: u16 = 0x64;

/// "Pulse output port" with bit 0, the processor's reset line, low.
pub const PULSE_RESET: u8 = 0xfe;

/// Both buffers empty: a command may be written (Linux's `reboot=k` waits for that), no data waits at port 0x60.
const STATUS: u8 = 0;

/// The controller's command port; the data port 0x60 has no device and reads all ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct I8042(());

impl I8042 {
    /// A controller; it has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl BusDevice for I8042 {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(STATUS);
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        (data.first() == Some(&PULSE_RESET)).then_some(Request::Reset)
    }
}
