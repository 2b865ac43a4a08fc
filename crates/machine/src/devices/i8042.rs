//! The keyboard controller, as much of it as machines without a keyboard need: its line to the processor's reset pin.

use crate::bus::BusDevice;
use kvm_accel::Request;

/// The port to which commands are written and from which the status is read.
pub const I8042_COMMAND_PORT: u16 = 0x64;

/// "Pulse output port" with bit 0, the processor's reset line, low.
pub const PULSE_RESET: u8 = 0xfe;

/// The status: both buffers are empty. A command may be written (Linux's `reboot=k` waits for that), and no data waits
/// at port 0x60.
const STATUS: u8 = 0;

/// The controller's command port; the data port 0x60 has no device and reads all ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct I8042(());

impl I8042 {
    /// Creates a controller, which has no state.
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
