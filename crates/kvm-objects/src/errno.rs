//! Errors as the kernel reports them: by number.

use vmm_sys_util::errno::Error;

/// The kernel's answer, or its error number.
pub type Result<T> = std::result::Result<T, Error>;

/// Makes the error of a call that this layer refuses, with the number that the kernel would give.
pub(crate) fn refuse(errno: i32) -> Error {
    Error::new(errno)
}
