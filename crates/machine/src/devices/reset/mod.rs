//! The registers by which a guest resets the machine.
//!
//! - `i8042`: the keyboard controller's reset line.
//! - `ports`: the chipset's ports that reset.

mod i8042;
mod ports;

pub use i8042::{I8042, I8042_COMMAND_PORT, I8042_DATA_PORT, I8042Commands, I8042Data, PULSE_RESET};
pub use ports::ResetPort;
