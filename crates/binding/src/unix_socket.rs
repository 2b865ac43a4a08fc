//! Unix sockets where Node listens: it can neither tell a dead socket from another file nor replace one safely.

use crate::error::{self, BindingError};
use kvm_accel_machine::host_socket::{HostSocket, ListenError};
use kvm_accel_vmm::FailureDetails;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;
use std::path::Path;

/// Connections that wait to be accepted, as Node has it.
const BACKLOG: i32 = 511;

/// A listening socket at a path, which goes at `close()` or with this object.
#[napi]
pub struct BindingUnixSocket(Option<HostSocket>);

/// Listens at a path where nothing is, or the socket of a process that has ended. Never waits: null while another process has the directory
/// locked, and with `last` the error for that.
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
        message: format!("a serial port cannot listen: the path '{path}' {why}"),
        remedy: (*remedy).into(),
        option: Some("serial".into()),
        ..FailureDetails::default()
    })
}

#[napi]
impl BindingUnixSocket {
    /// A descriptor of the socket, the caller's; -1 without one.
    #[napi]
    pub fn fd(&self) -> i32 {
        let socket = self.0.as_ref().and_then(|socket| socket.listener().try_clone_to_owned().ok());
        socket.map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// Removes the path if it is still this socket's. Call it before the last descriptor is closed: until then no other process takes the
    /// path.
    #[napi]
    pub fn close(&mut self) {
        self.0 = None;
    }
}
