//! The targets of serial ports, of the debug console and of console ports.

use super::opened::Opened;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::devices::SerialOutput;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The most serial ports.
const PORTS: usize = 4;
/// The debug console's index among the streams; COM1 is 0.
pub const DEBUG_CONSOLE: u32 = 4;

/// The destination of a port's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// The output is discarded.
    Null {},
    /// This process's standard output.
    Stdio {},
    /// A file, which is created or truncated.
    File {
        /// Its path.
        path: String,
    },
    /// A stream whose other end the caller takes.
    Stream {},
}

/// The debug console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugConsoleConfig {
    /// Its I/O port.
    pub port: u16,
    /// The destination of its output.
    pub target: Target,
}

/// The targets of COM1 to COM4; none for a port that the machine does not have.
pub(super) fn ports(serials: Vec<Option<Target>>) -> Result<[Option<Target>; PORTS], MachineConfigError> {
    if serials.len() > PORTS {
        let message = format!("serials has {} ports: expected at most {PORTS}", serials.len());
        return Err(MachineConfigError::new("serials", message, "A board has COM1 to COM4."));
    }
    let mut serials = serials.into_iter();
    Ok(std::array::from_fn(|_| serials.next().flatten()))
}

impl Target {
    /// Opens the target of a serial port or of the debug console. `opened` receives the caller's end of a stream.
    pub fn open(self, port: u32, opened: &mut Opened) -> Result<SerialOutput, MachineConfigError> {
        match self {
            Self::Null {} => Ok(SerialOutput::null()),
            Self::Stdio {} => SerialOutput::stdout(),
            Self::File { path } => SerialOutput::create(Path::new(&path)),
            Self::Stream {} => {
                let (theirs, ours) = SerialOutput::stream()?;
                opened.stream(port, theirs);
                Ok(ours)
            }
        }
    }
}
