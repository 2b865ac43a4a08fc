//! Serial ports: output crosses as a descriptor, input as bytes.

use super::handle::BindingMachine;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

#[napi]
impl BindingMachine {
    /// The reading end of a port's stream, COM1 being 0 and the debug console 4; the caller owns it. -1 without one.
    #[napi]
    pub fn take_serial_fd(&self, port: u32) -> i32 {
        self.machine.direct().take_serial_end(port).map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Input for a serial port: how many bytes were taken.
    #[napi]
    pub fn serial_input(&self, port: u32, bytes: Uint8Array) -> u32 {
        let taken = self.machine.direct().serial_input(usize::try_from(port).unwrap_or(usize::MAX), &bytes);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }
}
