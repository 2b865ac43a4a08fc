//! QEMU's `isa-debug-exit`: a port that ends the machine with an exit status that the guest writes.

use crate::MachineConfigError;
use crate::bus::BusDevice;
use kvm_accel::Request;

/// The first port of `-device isa-debug-exit` without `iobase`.
pub const DEBUG_EXIT_IOBASE: u32 = 0x501;
/// The number of ports of `-device isa-debug-exit` without `iosize`.
pub const DEBUG_EXIT_IOSIZE: u32 = 2;

/// The device, with valid ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExit {
    iobase: u16,
    iosize: u32,
}

impl DebugExit {
    /// Creates a device of `iosize` ports from `iobase` on.
    ///
    /// # Errors
    /// Fails if there is no port, or not all ports lie within 0..=0xffff.
    pub fn new(iobase: u32, iosize: u32) -> Result<Self, MachineConfigError> {
        let refuse = |rule: &str| {
            let message = format!("isa-debug-exit with iobase={iobase:#x}, iosize={iosize:#x}: {rule}");
            MachineConfigError::new("debugExit", message, "Use iobase=0xf4,iosize=0x4, or QEMU's defaults 0x501 and 2.")
        };
        let base = u16::try_from(iobase).map_err(|_| refuse("iobase must be a port, 0 to 0xffff"))?;
        if iosize == 0 {
            return Err(refuse("iosize must be at least 1"));
        }
        if iosize > 0x1_0000 - u32::from(base) {
            return Err(refuse("the last port must not lie beyond 0xffff"));
        }
        Ok(Self { iobase: base, iosize })
    }

    /// Returns the first port.
    #[must_use]
    pub const fn iobase(&self) -> u16 {
        self.iobase
    }

    /// Returns the number of ports.
    #[must_use]
    pub const fn iosize(&self) -> u32 {
        self.iosize
    }
}

impl BusDevice for DebugExit {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, _offset: u64, data: &[u8]) -> Option<Request> {
        let mut value = [0; 4];
        let len = data.len().min(value.len());
        value[..len].copy_from_slice(&data[..len]);
        Some(Request::DebugExit { value: u32::from_le_bytes(value) })
    }
}
