//! COM1: vm-superio's 16550A between the guest, an output that may block and an input queue that never does.
//!
//! Two locks, never held together. `uart` guards registers and input and is held for a few instructions only, so
//! [`SerialPort::input`] may be called from an event loop. `output` is held while a vCPU waits for the reader.

use super::SerialOutput;
use super::serial_output::OutputInterrupt;
use crate::bus::BusDevice;
use kvm_accel::Request;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// The first port of COM1.
pub const COM1_BASE: u16 = 0x3f8;
/// The number of ports of a 16550A.
pub const COM1_PORTS: u32 = 8;
/// The interrupt line of COM1.
pub const COM1_IRQ: u8 = 4;

/// First port and line of COM2 to COM4; lines are shared with the port before the last.
pub const MORE_COM_PORTS: [(u16, u8); 3] = [(0x2f8, 3), (0x3e8, COM1_IRQ), (0x2e8, 3)];

/// How many bytes of input wait for the guest at most, besides the UART's own 64.
pub const SERIAL_INPUT_CAPACITY: usize = 64 * 1024;

/// Called on a vCPU thread, without a lock held, when input is accepted again after some was not.
pub type InputDrained = Box<dyn Fn() + Send + Sync>;

/// The registers that the input queue cares about: receiver buffer, modem control with its loopback bit, line status.
const DATA: u8 = 0;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1;

/// The line to the interrupt controller.
#[derive(Clone, Default)]
pub struct Irq(Option<Arc<dyn Fn() + Send + Sync>>);

impl Irq {
    /// A line that leads nowhere: the guest has to poll.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A line that `raise` puts an edge on. It is called with the device's lock held, and does not block.
    #[must_use]
    pub fn edge(raise: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(raise)))
    }
}

impl Trigger for Irq {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        if let Some(raise) = &self.0 {
            raise();
        }
        Ok(())
    }
}

impl fmt::Debug for Irq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Irq").field(&self.0.is_some()).finish()
    }
}

/// A serial port.
pub struct SerialPort {
    uart: Mutex<Uart>,
    output: Mutex<SerialOutput>,
    output_interrupt: Option<Arc<OutputInterrupt>>,
    input_drained: Option<InputDrained>,
}

impl SerialPort {
    /// A port in its reset state.
    #[must_use]
    pub fn new(irq: Irq, output: SerialOutput, input_drained: Option<InputDrained>) -> Self {
        let output_interrupt = output.interrupt();
        let uart = Uart { chip: Serial::new(irq, Transmitted(None)), input: VecDeque::new(), starved: false };
        Self { uart: Mutex::new(uart), output: Mutex::new(output), output_interrupt, input_drained }
    }

    /// Takes input for the guest and answers how many bytes of it were accepted; never blocks.
    ///
    /// When that is not all, `input_drained` is called once as soon as half of [`SERIAL_INPUT_CAPACITY`] is free.
    pub fn input(&self, bytes: &[u8]) -> usize {
        self.uart().accept(bytes)
    }

    /// Writes kept output as far as there is room, without waiting. True when nothing is left.
    ///
    /// For teardown, after [`BusDevice::interrupt`].
    pub fn flush_pending(&self) -> bool {
        self.output().flush_pending()
    }

    /// The machine is reset: registers get their initial values; output on its way and input not yet taken stay.
    pub fn reset(&self) {
        self.uart().reset();
    }

    // No code that holds one of the locks panics; if it did, the state behind it would still be whole.
    fn uart(&self) -> MutexGuard<'_, Uart> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self) -> MutexGuard<'_, SerialOutput> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BusDevice for SerialPort {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut drained = false;
        for (register, byte) in registers(offset).zip(data) {
            let mut uart = self.uart();
            *byte = uart.chip.read(register);
            if register == DATA {
                drained |= uart.refill();
            }
        }
        if drained && let Some(input_drained) = &self.input_drained {
            input_drained();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        for (register, byte) in registers(offset).zip(data) {
            let transmitted = self.uart().write(register, *byte);
            if let Some(byte) = transmitted {
                self.output().write(&[byte]);
            }
        }
        None
    }

    /// A vCPU that waits for the reader of the output returns to its loop; what cannot be written is kept.
    fn interrupt(&self) {
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.set();
        }
    }

    /// Output waits for its reader again, and what was kept goes out as far as there is room.
    fn resume(&self) {
        self.flush_pending();
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.clear();
        }
    }
}

/// The registers from `offset` on: an access of several bytes is one of each.
fn registers(offset: u64) -> impl Iterator<Item = u8> {
    u8::try_from(offset).into_iter().flat_map(|first| first..=u8::MAX)
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort").finish_non_exhaustive()
    }
}

/// The chip and the input that waits for room in its FIFO.
struct Uart {
    chip: Serial<Irq, NoEvents, Transmitted>,
    input: VecDeque<u8>,
    /// Input was not accepted for lack of room, and nobody was told of new room yet.
    starved: bool,
}

impl Uart {
    fn accept(&mut self, bytes: &[u8]) -> usize {
        let accepted = bytes.len().min(SERIAL_INPUT_CAPACITY - self.input.len());
        self.input.extend(&bytes[..accepted]);
        self.fill_fifo();
        self.starved |= accepted < bytes.len();
        accepted
    }

    /// Fills the FIFO once it is empty, so that the guest is interrupted once for up to 64 bytes, not for each.
    /// True when there is room again after input had been refused.
    fn refill(&mut self) -> bool {
        self.fill_fifo();
        let drained = self.starved && self.input.len() <= SERIAL_INPUT_CAPACITY / 2;
        self.starved &= !drained;
        drained
    }

    fn fill_fifo(&mut self) {
        if !self.input.is_empty() && self.chip.read(LINE_STATUS) & DATA_READY == 0 {
            let (front, _) = self.input.as_slices();
            // In loopback mode the chip takes nothing; the switch back fills the FIFO.
            let taken = self.chip.enqueue_raw_bytes(front).unwrap_or(0);
            self.input.drain(..taken);
        }
    }

    fn reset(&mut self) {
        self.chip = Serial::new(self.chip.interrupt_evt().clone(), Transmitted(None));
        self.fill_fifo();
    }

    /// Answers the byte that the guest transmits by this write.
    fn write(&mut self, register: u8, value: u8) -> Option<u8> {
        // Neither the trigger nor the writer of this chip can fail.
        let _ = self.chip.write(register, value);
        if register == MODEM_CONTROL {
            self.fill_fifo();
        }
        self.chip.writer_mut().0.take()
    }
}

/// Catches what the chip transmits, so that it can be written without the chip's lock.
struct Transmitted(Option<u8>);

impl io::Write for Transmitted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = bytes.last().copied();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
