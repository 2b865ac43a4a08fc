//! Memory that JavaScript and Rust both see, mappings as ArrayBuffers and arrays of callers: the one place of this crate with `unsafe`.
#![allow(unsafe_code)]

use kvm_accel_kvm_objects::{Mapping, SharedBytes};
use napi::bindgen_prelude::{ArrayBuffer, Either, FromNapiValue};
use napi::{Env, Error, Status, check_status, sys};
use std::ptr::null_mut;
use std::sync::Arc;

/// The bytes of a mapping, not a copy; 0 when this runtime copies external buffers.
pub fn of(env: &Env, mapping: Arc<Mapping>) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
    let (base, len) = (mapping.base(), mapping.len());
    // SAFETY: the mapping is `len` bytes at `base`, and the buffer's finalizer owns a share of it: it stays as long as the buffer is
    // reachable, and the runtime detaches the buffer when the environment ends before. Rust makes no reference to these bytes.
    let buffer = unsafe { ArrayBuffer::from_external(env, base, len, mapping, |_, mapping| drop(mapping)) }?;
    // A runtime without external buffers (Electron) makes a copy, which would show nothing.
    Ok(if std::ptr::eq(buffer.as_ptr(), base) { Either::A(buffer) } else { Either::B(0) })
}

/// A caller's Uint8Array. It may lie in guest memory, which a guest changes at any time, so Rust makes no reference to its bytes. To be used
/// during the call only.
pub struct JsBytes<'a>(pub SharedBytes<'a>);

impl FromNapiValue for JsBytes<'_> {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: passed on from our caller.
        let (start, len) = unsafe { array(env, value, sys::TypedarrayType::uint8_array) }?;
        // SAFETY: the engine keeps the array's bytes for as long as the call that it is an argument of.
        Ok(Self(if len == 0 { SharedBytes::EMPTY } else { unsafe { SharedBytes::new(start, len) } }))
    }
}

/// A copy of a caller's BigUint64Array, which may lie in guest memory.
pub struct JsWords(pub Vec<u64>);

impl FromNapiValue for JsWords {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: passed on from our caller.
        let (start, len) = unsafe { array(env, value, sys::TypedarrayType::biguint64_array) }?;
        // SAFETY: as above; the copy is made before this returns.
        Ok(Self(if len == 0 { Vec::new() } else { unsafe { SharedBytes::new(start, len * 8) }.to_words() }))
    }
}

/// First byte and number of elements of a typed array.
///
/// # Safety
/// `env` and `value` are valid.
unsafe fn array(env: sys::napi_env, value: sys::napi_value, expected: i32) -> napi::Result<(*mut u8, usize)> {
    let (mut kind, mut len, mut start) = (0, 0, null_mut());
    // SAFETY: our caller's promise; the engine writes to the variables that it is given.
    check_status!(unsafe {
        sys::napi_get_typedarray_info(env, value, &raw mut kind, &raw mut len, &raw mut start, null_mut(), null_mut())
    })?;
    if kind != expected {
        return Err(Error::new(Status::InvalidArg, "expected an array of another type"));
    }
    Ok((start.cast(), len))
}
