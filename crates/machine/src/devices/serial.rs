//! A serial port: vm-superio's 16550A between the guest, an output that may block and an input queue that never does.
//!
//! Two locks, never held together. `uart` guards the registers and the input. It is held for a few instructions only,
//! so [`SerialPort::input`] may be called from an event loop. `output` is held while a vCPU waits for the reader.

use super::SerialOutput;
use super::serial_output::OutputInterrupt;
use crate::bus::BusDevice;
use kvm_accel::Request;
use kvm_accel::lock;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

/// The first port of COM1.
pub const COM1_BASE: u16 = 0x3f8;
/// The number of ports of a 16550A.
pub const COM1_PORTS: u32 = 8;
/// The interrupt line of COM1.
pub const COM1_IRQ: u8 = 4;

/// The first port and the line of COM2 to COM4. COM3 shares the line of COM1, and COM4 that of COM2.
pub const MORE_COM_PORTS: [(u16, u8); 3] = [(0x2f8, 3), (0x3e8, COM1_IRQ), (0x2e8, 3)];

/// The most bytes of input that wait for the guest, in addition to the UART's own 64.
pub const SERIAL_INPUT_CAPACITY: usize = 64 * 1024;

/// Called on a vCPU thread, without a lock held, when the port accepts input again after it had refused some.
pub type InputDrained = Box<dyn Fn() + Send + Sync>;

/// The registers that affect the input queue: receiver buffer, modem control with its loopback bit, line status.
const DATA: u8 = 0;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1;

/// A device's line to the interrupt controller.
#[derive(Clone, Default)]
pub struct Irq(Option<Arc<dyn Fn() + Send + Sync>>);

impl Irq {
    /// Creates an unconnected line: the guest has to poll.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Creates a line. `raise` puts an edge on it. The device calls `raise` with its lock held, so `raise` must not
    /// block.
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
    /// Creates a port in its reset state.
    #[must_use]
    pub fn new(irq: Irq, output: SerialOutput, input_drained: Option<InputDrained>) -> Self {
        let output_interrupt = output.interrupt();
        let uart = Uart { chip: Serial::new(irq, Transmitted(None)), input: VecDeque::new(), starved: false };
        Self { uart: Mutex::new(uart), output: Mutex::new(output), output_interrupt, input_drained }
    }

    /// Queues input for the guest and returns how many bytes were accepted. Never blocks.
    ///
    /// If not all were accepted, `input_drained` is called once, as soon as half of [`SERIAL_INPUT_CAPACITY`] is free.
    pub fn input(&self, bytes: &[u8]) -> usize {
        self.uart().accept(bytes)
    }

    /// Writes as much pending output as there is room for, without waiting. Returns true if nothing is left.
    pub fn flush_pending(&self) -> bool {
        self.output().flush_pending()
    }

    /// Flushes pending output as [`SerialPort::flush_pending`] does, and reports lost output. Called when the machine ends.
    pub fn finish(&self) {
        self.output().finish();
    }

    /// Resets the registers to their initial values. Pending output and queued input are kept.
    pub fn reset(&self) {
        self.uart().reset();
    }

    // A poisoned lock is used: no code that holds it panics, and its state would still be consistent after a panic.
    fn uart(&self) -> MutexGuard<'_, Uart> {
        lock(&self.uart)
    }

    fn output(&self) -> MutexGuard<'_, SerialOutput> {
        lock(&self.output)
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

    /// Makes a vCPU that waits for the output's reader return. Bytes that were not written are kept.
    fn interrupt(&self) {
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.set();
        }
    }

    /// Lets output wait for its reader again, and writes as many of the kept bytes as there is room for.
    fn resume(&self) {
        self.flush_pending();
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.clear();
        }
    }
}

/// Returns the registers from `offset` on. An access of several bytes accesses one register per byte.
fn registers(offset: u64) -> impl Iterator<Item = u8> {
    u8::try_from(offset).into_iter().flat_map(|first| first..=u8::MAX)
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort").finish_non_exhaustive()
    }
}

/// The chip, and the input that waits for room in its FIFO.
struct Uart {
    chip: Serial<Irq, NoEvents, Transmitted>,
    input: VecDeque<u8>,
    /// Some input was refused for lack of room, and `input_drained` has not been called since.
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

    /// Fills the FIFO once it is empty, so that the guest gets one interrupt for up to 64 bytes. Returns true if there
    /// is room again after input had been refused.
    fn refill(&mut self) -> bool {
        self.fill_fifo();
        let drained = self.starved && self.input.len() <= SERIAL_INPUT_CAPACITY / 2;
        self.starved &= !drained;
        drained
    }

    fn fill_fifo(&mut self) {
        if !self.input.is_empty() && self.chip.read(LINE_STATUS) & DATA_READY == 0 {
            let (front, _) = self.input.as_slices();
            // In loopback mode the chip takes nothing. When the guest leaves that mode, `write` fills the FIFO.
            let taken = self.chip.enqueue_raw_bytes(front).unwrap_or(0);
            self.input.drain(..taken);
        }
    }

    fn reset(&mut self) {
        self.chip = Serial::new(self.chip.interrupt_evt().clone(), Transmitted(None));
        self.fill_fifo();
    }

    /// Writes a register. Returns the byte that the guest transmits by this write, if any.
    fn write(&mut self, register: u8, value: u8) -> Option<u8> {
        // Neither the trigger nor the writer of this chip can fail.
        let _ = self.chip.write(register, value);
        if register == MODEM_CONTROL {
            self.fill_fifo();
        }
        self.chip.writer_mut().0.take()
    }
}

/// Receives the byte that the chip transmits, so that it can be written to the output without the chip's lock.
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
