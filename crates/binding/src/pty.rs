//! Pseudo-terminals. Node.js has no function that creates one.

use crate::error::{self, BindingError};
use kvm_accel_machine::pty::{self, Pty};
use kvm_accel_vmm::FailureDetails;
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

/// A pseudo-terminal in raw mode.
#[napi(object, object_from_js = false)]
pub struct BindingPty {
    /// A socket that the caller owns. It is connected to the terminal in both directions.
    pub fd: i32,
    /// The path that terminal programs open, for example `/dev/pts/3`.
    pub path: String,
}

/// Creates a pseudo-terminal, which ends when its socket is closed.
#[napi]
pub fn open_pty() -> Either<BindingPty, BindingError> {
    match pty::open_pty() {
        Ok(Pty { socket, path }) => Either::A(BindingPty { fd: socket.into_raw_fd(), path }),
        Err(why) => Either::B(error::json(FailureDetails {
            code: "ERR_MACHINE_CONFIG".into(),
            message: format!("cannot create a pseudo-terminal: {why}"),
            remedy: "Mount devpts at /dev/pts, or raise kernel.pty.max.".into(),
            errno: why.raw_os_error(),
            option: Some("serial".into()),
            ..FailureDetails::default()
        })),
    }
}
