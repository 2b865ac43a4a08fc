//! QEMU's `isa-debugcon`, and the same port of other emulators that firmware writes to: its bytes go to an output,
//! without a UART.

use super::SerialOutput;
use super::serial_output::OutputInterrupt;
use crate::bus::BusDevice;
use kvm_accel::Request;
use kvm_accel::lock;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// The value that the port reads as. Firmware reads it to detect the debug console.
const READBACK: u8 = 0xe9;

/// The debug console's port.
pub struct DebugConsole {
    output: Mutex<SerialOutput>,
    output_interrupt: Option<Arc<OutputInterrupt>>,
}

impl DebugConsole {
    /// Creates a port that writes to `output`.
    #[must_use]
    pub fn new(output: SerialOutput) -> Self {
        Self { output_interrupt: output.interrupt(), output: Mutex::new(output) }
    }

    /// Writes as much pending output as there is room for, without waiting, and reports lost output. Called when the
    /// machine ends.
    pub fn finish(&self) {
        self.output().finish();
    }

    fn output(&self) -> MutexGuard<'_, SerialOutput> {
        lock(&self.output)
    }
}

impl BusDevice for DebugConsole {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(READBACK);
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        self.output().write(data);
        None
    }

    fn interrupt(&self) {
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.set();
        }
    }

    fn resume(&self) {
        self.output().flush_pending();
        if let Some(interrupt) = &self.output_interrupt {
            interrupt.clear();
        }
    }
}

impl fmt::Debug for DebugConsole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DebugConsole").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn test_bytes_are_written_and_the_port_reads_as_present() {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let console = DebugConsole::new(SerialOutput::socket(ours).unwrap());
        assert_eq!(console.write(0, b"a"), None);
        console.write(0, b"bc");
        let mut read = [0; 3];
        theirs.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"abc");
        let mut byte = [0; 2];
        console.read(0, &mut byte);
        assert_eq!(byte, [READBACK; 2]);
    }
}
