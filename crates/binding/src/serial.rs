//! Where serial ports and the debug console write to.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::devices::SerialOutput;
use napi_derive::napi;
use std::collections::HashMap;
use std::io::PipeReader;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;

/// The debug console's number; COM1 is 0.
pub const DEBUG_CONSOLE: u32 = 4;

/// Where a port writes to.
#[napi(discriminant = "kind", discriminant_case = "lowercase", object_to_js = false)]
pub enum BindingSerial {
    /// Nowhere.
    Null,
    /// The process's standard output.
    Stdout,
    /// A file, truncated.
    File { path: String },
    /// A pipe whose reading end is `takeSerialFd()`.
    Stream,
}

/// The users' ends of streams, by port.
#[derive(Default)]
pub struct SerialStreams(HashMap<u32, PipeReader>);

impl SerialStreams {
    /// Opens what a port writes to, and keeps the user's end of a stream.
    pub fn open(&mut self, port: u32, target: BindingSerial) -> Result<SerialOutput, MachineConfigError> {
        let failed = |error: std::io::Error| {
            let message = format!("a serial port's stream cannot be made: {error}");
            MachineConfigError::new("serial", message, "Raise the limit on open files (ulimit -n).")
        };
        match target {
            BindingSerial::Null => Ok(SerialOutput::null()),
            BindingSerial::Stdout => SerialOutput::stdout(),
            BindingSerial::File { path } => SerialOutput::create(Path::new(&path)),
            BindingSerial::Stream => {
                // A pipe holds 64 KiB of single bytes, a socket some hundred.
                let (theirs, ours) = std::io::pipe().map_err(failed)?;
                self.0.insert(port, theirs);
                SerialOutput::file(OwnedFd::from(ours).into())
            }
        }
    }

    /// The reading end of a port's stream, which the caller owns; -1 without one.
    pub fn take_fd(&mut self, port: u32) -> i32 {
        self.0.remove(&port).map_or(-1, IntoRawFd::into_raw_fd)
    }
}
