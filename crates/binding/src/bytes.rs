//! Byte arrays of a machine's configuration. JavaScript hands a large one over in pieces, so that copying it does not hold up the event loop.

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
    /// Of the environment that runs on this thread.
    static STAGED: RefCell<Staged> = RefCell::default();
}

/// Room for bytes: their token, or that the host has no memory for them.
#[napi(object, object_from_js = false)]
pub struct BindingStaged {
    pub token: u32,
    pub error: Option<BindingError>,
}

/// Makes room for `length` bytes.
#[napi]
pub fn stage_bytes(length: i64) -> BindingStaged {
    let mut bytes = Vec::new();
    let reserved = usize::try_from(length).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
    if !reserved {
        let message = format!("the host has no memory for an image of {length} bytes");
        let why =
            MachineConfigError::new("memory", message, "Name the image by its path, so that it is read from the file.");
        return BindingStaged { token: 0, error: Some(error::json(why)) };
    }
    STAGED.with_borrow_mut(|staged| {
        staged.last = staged.last.wrapping_add(1).max(1);
        staged.bytes.insert(staged.last, bytes);
        BindingStaged { token: staged.last, error: None }
    })
}

/// Copies the next piece.
#[napi]
pub fn append_bytes(token: u32, piece: Uint8Array) {
    STAGED.with_borrow_mut(|staged| {
        if let Some(bytes) = staged.bytes.get_mut(&token) {
            bytes.extend_from_slice(&piece);
        }
    });
}

/// Forgets bytes that no machine took.
#[napi]
pub fn drop_bytes(token: u32) {
    drop(take(token));
}

/// Returns the bytes of a token, and forgets them; none for an unknown token.
pub fn take(token: u32) -> Option<Vec<u8>> {
    STAGED.with_borrow_mut(|staged| staged.bytes.remove(&token))
}
