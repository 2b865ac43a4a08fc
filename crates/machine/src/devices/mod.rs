//! The board's devices. Each has its own lock and knows neither its address nor the accelerator.

mod debug_exit;
mod delegated;
mod i8042;
mod serial;
mod serial_output;

pub use debug_exit::{DEBUG_EXIT_IOBASE, DEBUG_EXIT_IOSIZE, DebugExit};
pub use delegated::{Access, Asked, Delegated, DelegatedDevices, Next};
pub use i8042::{I8042, I8042_COMMAND_PORT};
pub use serial::{COM1_BASE, COM1_IRQ, COM1_PORTS, InputDrained, Irq, SERIAL_INPUT_CAPACITY, SerialPort};
pub use serial_output::SerialOutput;
