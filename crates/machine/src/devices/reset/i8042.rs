//! The part of the keyboard controller that a machine without a keyboard needs: its line to the processor's reset pin.

use crate::bus::BusDevice;
use kvm_accel::Request;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The data port.
pub const I8042_DATA_PORT: u16 = 0x60;
/// The port to which commands are written and from which the status is read.
pub const I8042_COMMAND_PORT: u16 = 0x64;

/// "Pulse output port" with bit 0, the processor's reset line, low.
pub const PULSE_RESET: u8 = 0xfe;

/// Bits 7:4 of the commands that pulse lines of the output port: each of bits 3:0 that is clear pulses its line.
const PULSE: u8 = 0xf0;
const READ_OUTPUT_PORT: u8 = 0xd0;
const WRITE_OUTPUT_PORT: u8 = 0xd1;

/// Output port: the processor's reset line, active low.
const NO_RESET: u8 = 1;
/// The output port at power-on, as in QEMU: no reset, address line 20 enabled, lines without a function high.
const OUTPUT_PORT: u8 = 0xcf;

/// Status: a byte waits at the data port. No other bit is ever set, because commands complete at once. Linux's `reboot=k`
/// waits until the input buffer is empty.
const OUTPUT_FULL: u8 = 1;

#[derive(Debug)]
struct State {
    /// The output port. Only the reset line has an effect: address line 20 is always enabled.
    output_port: u8,
    /// The byte that waits at the data port.
    answer: Option<u8>,
    /// The next byte written to the data port is for the output port.
    writes_output_port: bool,
}

const POWER_ON: State = State { output_port: OUTPUT_PORT, answer: None, writes_output_port: false };

/// The controller, without a keyboard or a mouse. Commands other than those of the output port have no effect, and data
/// for the keyboard is lost.
#[derive(Debug)]
pub struct I8042(Mutex<State>);

impl Default for I8042 {
    fn default() -> Self {
        Self(Mutex::new(POWER_ON))
    }
}

impl I8042 {
    /// Resets the controller to power-on.
    pub fn reset(&self) {
        *self.state() = POWER_ON;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command port of a controller.
#[derive(Debug)]
pub struct I8042Commands(pub Arc<I8042>);

/// The data port of a controller.
#[derive(Debug)]
pub struct I8042Data(pub Arc<I8042>);

impl BusDevice for I8042Commands {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(if self.0.state().answer.is_some() { OUTPUT_FULL } else { 0 });
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        let mut state = self.0.state();
        let command = *data.first()?;
        state.writes_output_port = command == WRITE_OUTPUT_PORT;
        if command == READ_OUTPUT_PORT {
            state.answer = Some(state.output_port);
        }
        (command & PULSE == PULSE && command & NO_RESET == 0).then_some(Request::Reset)
    }
}

impl BusDevice for I8042Data {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        // Without an answer the port reads all ones, as a port without a device.
        data.fill(self.0.state().answer.take().unwrap_or(0xff));
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        let mut state = self.0.state();
        let value = *data.first()?;
        if !std::mem::take(&mut state.writes_output_port) {
            return None;
        }
        state.output_port = value;
        (value & NO_RESET == 0).then_some(Request::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller() -> (I8042Commands, I8042Data) {
        let controller = Arc::new(I8042::default());
        (I8042Commands(Arc::clone(&controller)), I8042Data(controller))
    }

    fn read(port: &impl BusDevice) -> u8 {
        let mut data = [0x5a];
        port.read(0, &mut data);
        data[0]
    }

    #[test]
    fn test_commands_that_pulse_the_reset_line_reset() {
        let (commands, _) = controller();
        for command in 0..=0xff {
            let resets = (0xf0..=0xff).step_by(2).any(|pulse| pulse == command);
            assert_eq!(commands.write(0, &[command]), resets.then_some(Request::Reset), "{command:#x}");
        }
    }

    #[test]
    fn test_the_output_port_reads_back_and_its_reset_line_resets() {
        let (commands, data) = controller();
        assert_eq!((read(&commands), read(&data)), (0, 0xff));
        assert_eq!(data.write(0, &[0xfe]), None, "data for the keyboard");
        commands.write(0, &[READ_OUTPUT_PORT]);
        assert_eq!([read(&commands), read(&data), read(&commands)], [1, 0xcf, 0]);
        commands.write(0, &[WRITE_OUTPUT_PORT]);
        assert_eq!(data.write(0, &[0xdd]), None);
        assert_eq!(data.write(0, &[0xfe]), None, "data for the keyboard");
        commands.write(0, &[READ_OUTPUT_PORT]);
        assert_eq!(read(&data), 0xdd);
        commands.write(0, &[WRITE_OUTPUT_PORT]);
        assert_eq!(data.write(0, &[0xfe]), Some(Request::Reset));
        data.0.reset();
        commands.write(0, &[READ_OUTPUT_PORT]);
        assert_eq!(read(&data), 0xcf);
    }
}
