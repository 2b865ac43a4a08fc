//! Streams of the guest's AF_VSOCK. JavaScript receives a stream's descriptor and reads and writes its bytes itself.

use super::handle::BindingMachine;
use crate::error::{self, BindingError};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

/// A stream. The caller owns its descriptor.
#[napi(object, object_from_js = false)]
pub struct BindingVsockStream {
    pub fd: i32,
    /// The guest's port.
    pub guest_port: u32,
}

#[napi]
impl BindingMachine {
    /// Connects to a port of the guest. A `vsock-connected` event with the same `id` reports the result.
    #[napi]
    pub fn connect_vsock(&self, guest_port: u32, id: u32) -> Either<BindingVsockStream, BindingError> {
        match self.machine.connect_vsock(guest_port, id) {
            Ok(socket) => Either::A(BindingVsockStream { fd: socket.into_raw_fd(), guest_port }),
            Err(failure) => Either::B(error::json(failure)),
        }
    }

    /// Listens on a port of the host. A `vsock-connection` event reports each connection that can be accepted.
    #[napi]
    pub fn listen_vsock(&mut self, host_port: u32, backlog: u32) -> Option<BindingError> {
        match self.machine.listen_vsock(host_port, backlog) {
            Ok(listener) => {
                self.listeners.insert(host_port, listener);
                None
            }
            Err(failure) => Some(error::json(failure)),
        }
    }

    /// Accepts the next connection to a port on which the host listens.
    #[napi]
    pub fn accept_vsock(&self, host_port: u32) -> Option<BindingVsockStream> {
        let accepted = self.listeners.get(&host_port)?.accept()?;
        Some(BindingVsockStream { fd: accepted.socket.into_raw_fd(), guest_port: accepted.port })
    }

    /// Stops listening on a port.
    #[napi]
    pub fn unlisten_vsock(&mut self, host_port: u32) {
        self.listeners.remove(&host_port);
    }
}
