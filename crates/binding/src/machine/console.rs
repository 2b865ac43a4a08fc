//! Ports of the virtio console: descriptors cross, their bytes do not.

use super::handle::BindingMachine;
use kvm_accel_machine::virtio::console::Size;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

#[napi]
impl BindingMachine {
    /// The user's end of a console's port, which the caller owns; -1 without one.
    #[napi]
    pub fn take_console_fd(&self, port: u32) -> i32 {
        self.machine.direct().take_console_end(port).map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// The size of a console's terminal has changed.
    #[napi]
    pub fn resize_console(&self, port: u32, columns: u16, rows: u16) {
        if let (Some(console), Ok(port)) = (self.machine.direct().console(), usize::try_from(port)) {
            console.resize(port, Size { columns, rows });
        }
    }
}
