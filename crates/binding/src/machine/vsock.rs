//! Streams of the guest's AF_VSOCK: descriptors cross, their bytes do not.

use super::handle::BindingMachine;
use crate::error::{self, BindingError};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

/// A stream; the caller owns its descriptor.
#[napi(object, object_from_js = false)]
pub struct BindingVsockStream {
    pub fd: i32,
    /// The guest's port.
    pub guest_port: u32,
}

#[napi]
impl BindingMachine {
    /// Connects to a port of the guest; a `vsock-connected` event with this `id` tells what became of it.
    #[napi]
    pub fn connect_vsock(&self, guest_port: u32, id: u32) -> Either<BindingVsockStream, BindingError> {
        match self.machine.connect_vsock(guest_port, id) {
            Ok(socket) => Either::A(BindingVsockStream { fd: socket.into_raw_fd(), guest_port }),
            Err(failure) => Either::B(error::json(failure)),
        }
    }

    /// Listens to a port of the host; a `vsock-connection` event tells that there is something to accept.
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

    /// The next connection to a port that is listened to.
    #[napi]
    pub fn accept_vsock(&self, host_port: u32) -> Option<BindingVsockStream> {
        let accepted = self.listeners.get(&host_port)?.accept()?;
        Some(BindingVsockStream { fd: accepted.socket.into_raw_fd(), guest_port: accepted.port })
    }

    /// Listens no more.
    #[napi]
    pub fn unlisten_vsock(&mut self, host_port: u32) {
        self.listeners.remove(&host_port);
    }
}
