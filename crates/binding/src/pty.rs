//! Pseudo-terminals, which Node cannot make.

use crate::error::BindingError;
use kvm_accel_machine::pty::{self, Pty};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;

/// A pseudo-terminal in raw mode.
#[napi(object, object_from_js = false)]
pub struct BindingPty {
    /// A socket, the caller's: what is written to it a terminal program reads, and the other way round.
    pub fd: i32,
    /// Where programs find it: `/dev/pts/3`.
    pub path: String,
}

/// Makes a pseudo-terminal, which ends when its socket is closed.
#[napi]
pub fn open_pty() -> Either<BindingPty, BindingError> {
    match pty::open_pty() {
        Ok(Pty { socket, path }) => Either::A(BindingPty { fd: socket.into_raw_fd(), path }),
        Err(error) => Either::B(BindingError {
            code: "ERR_MACHINE_CONFIG".into(),
            message: format!("a pseudo-terminal cannot be made: {error}"),
            remedy: "Mount devpts at /dev/pts, or raise kernel.pty.max.".into(),
            errno: error.raw_os_error(),
            option: Some("serial".into()),
            ..BindingError::default()
        }),
    }
}
