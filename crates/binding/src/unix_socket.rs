//! Listening Unix sockets for Node.js. Node.js itself cannot distinguish a dead socket from another file, nor replace one safely.

use crate::error::{self, BindingError};
use kvm_accel_machine::host_socket::{HostSocket, ListenError};
use kvm_accel_vmm::FailureDetails;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;
use std::path::Path;

/// Maximum number of connections that wait to be accepted, as in Node.js.
const BACKLOG: i32 = 511;

/// A listening socket at a path. The path is removed by `close()`, or when this object is collected.
#[napi]
pub struct BindingUnixSocket(Option<HostSocket>);

/// Listens at a path that is free or holds the socket of a process that has ended. Never waits: while another process locks the
/// directory, returns null, or the error for that if `last` is true.
#[napi]
pub fn listen_unix(path: String, last: bool) -> Option<Either<BindingUnixSocket, BindingError>> {
    match HostSocket::try_listen(Path::new(&path), BACKLOG) {
        Ok(Some(socket)) => Some(Either::A(BindingUnixSocket(Some(socket)))),
        Ok(None) if last => Some(Either::B(refusal(&path, &HostSocket::locked()))),
        Ok(None) => None,
        Err(why) => Some(Either::B(refusal(&path, &why))),
    }
}

fn refusal(path: &str, ListenError { why, remedy }: &ListenError) -> BindingError {
    error::json(FailureDetails {
        code: "ERR_MACHINE_CONFIG".into(),
        message: format!("cannot listen at '{path}' for a serial port: the path {why}"),
        remedy: (*remedy).into(),
        option: Some("serial".into()),
        ..FailureDetails::default()
    })
}

#[napi]
impl BindingUnixSocket {
    /// Returns a descriptor of the socket, which the caller then owns, or -1 if it is unavailable.
    #[napi]
    pub fn fd(&self) -> i32 {
        let socket = self.0.as_ref().and_then(|socket| socket.listener().try_clone_to_owned().ok());
        socket.map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Removes the path if it still names this socket. Call this before the last descriptor is closed: until then no other process
    /// replaces the path.
    #[napi]
    pub fn close(&mut self) {
        self.0 = None;
    }
}
