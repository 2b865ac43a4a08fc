//! Ports of the virtio console. JavaScript receives a port's descriptor and reads and writes its bytes itself.

use super::handle::BindingMachine;
use kvm_accel_machine::virtio::console::Size;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

#[napi]
impl BindingMachine {
    /// Returns the host's end of a console port as a descriptor that the caller owns, or -1 if there is no such port.
    #[napi]
    pub fn take_console_fd(&self, port: u32) -> i32 {
        self.machine.direct().take_console_end(port).map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Reports the size of a console's terminal to the guest.
    #[napi]
    pub fn resize_console(&self, port: u32, columns: u16, rows: u16) {
        if let (Some(console), Ok(port)) = (self.machine.direct().console(), usize::try_from(port)) {
            console.resize(port, Size { columns, rows });
        }
    }
}
