//! Serial ports. JavaScript receives the output through a descriptor and passes the input as bytes.

use super::handle::BindingMachine;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

#[napi]
impl BindingMachine {
    /// Returns the reading end of a port's output stream, which the caller then owns, or -1 if there is none. COM1 is port 0, the debug
    /// console is port 4.
    #[napi]
    pub fn take_serial_fd(&self, port: u32) -> i32 {
        self.machine.direct().take_serial_end(port).map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Passes input to a serial port. Returns the number of bytes that the port accepted.
    #[napi]
    pub fn serial_input(&self, port: u32, bytes: Uint8Array) -> u32 {
        let taken = self.machine.direct().serial_input(usize::try_from(port).unwrap_or(usize::MAX), &bytes);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }
}
