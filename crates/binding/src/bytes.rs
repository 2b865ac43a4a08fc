//! Byte arrays of a machine's configuration. JavaScript copies a large array in pieces, so that the copy does not block the event loop.

use crate::error::{self, BindingError};
use kvm_accel_machine::MachineConfigError;
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use std::cell::RefCell;
use std::collections::HashMap;

#[derive(Default)]
struct Staged {
    last: u32,
    bytes: HashMap<u32, Vec<u8>>,
}

thread_local! {
    /// The arrays of the environment that runs on this thread.
    static STAGED: RefCell<Staged> = RefCell::default();
}

/// The result of `reserveBytes`: a token, or the error that the host is out of memory.
#[napi(object, object_from_js = false)]
pub struct BindingStaged {
    pub token: u32,
    pub error: Option<BindingError>,
}

/// Reserves memory for `length` bytes.
#[napi]
pub fn stage_bytes(length: i64) -> BindingStaged {
    let mut bytes = Vec::new();
    let reserved = usize::try_from(length).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
    if !reserved {
        let message = format!("cannot allocate {length} bytes for an image: the host is out of memory");
        let why = MachineConfigError::new(
            "memory",
            message,
            "Pass the image's path instead of its bytes: the machine then reads the file directly.",
        );
        return BindingStaged { token: 0, error: Some(error::json(why)) };
    }
    STAGED.with_borrow_mut(|staged| {
        staged.last = staged.last.wrapping_add(1).max(1);
        staged.bytes.insert(staged.last, bytes);
        BindingStaged { token: staged.last, error: None }
    })
}

/// Appends the next piece.
#[napi]
pub fn append_bytes(token: u32, piece: Uint8Array) {
    STAGED.with_borrow_mut(|staged| {
        if let Some(bytes) = staged.bytes.get_mut(&token) {
            bytes.extend_from_slice(&piece);
        }
    });
}

/// Frees the bytes of a token that no machine has used.
#[napi]
pub fn drop_bytes(token: u32) {
    drop(take(token));
}

/// Removes and returns the bytes of a token. Returns `None` for an unknown token.
pub fn take(token: u32) -> Option<Vec<u8>> {
    STAGED.with_borrow_mut(|staged| staged.bytes.remove(&token))
}
