//! Errors as the kernel reports them: by number.

use vmm_sys_util::errno::Error;

/// The kernel's result, or its error number.
pub type Result<T> = std::result::Result<T, Error>;

/// Creates the error of a call that this layer rejects, with the error number that the kernel would return.
pub(crate) fn refuse(errno: i32) -> Error {
    Error::new(errno)
}
