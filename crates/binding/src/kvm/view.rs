//! Memory that JavaScript and Rust share: mappings as ArrayBuffers, and typed arrays of callers. The only file of this crate with
//! `unsafe`.
#![allow(unsafe_code)]

use kvm_accel_kvm_objects::{Mapping, SharedBytes};
use napi::bindgen_prelude::{ArrayBuffer, Either, FromNapiValue};
use napi::{Env, Error, Status, check_status, sys};
use std::ptr::null_mut;
use std::sync::Arc;

/// Returns an ArrayBuffer over a mapping, without a copy. Returns 0 if this runtime copies external buffers.
pub fn of(env: &Env, mapping: Arc<Mapping>) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
    let (base, len) = (mapping.base(), mapping.len());
    // SAFETY: the mapping is `len` bytes at `base`, and the buffer's finalizer shares its ownership. The mapping stays while the buffer
    // is reachable, and the runtime detaches the buffer if the environment ends earlier. Rust creates no reference to these bytes.
    let buffer = unsafe { ArrayBuffer::from_external(env, base, len, mapping, |_, mapping| drop(mapping)) }?;
    // A runtime without external buffers (Electron) copies the bytes, and the copy would not show later changes.
    Ok(if std::ptr::eq(buffer.as_ptr(), base) { Either::A(buffer) } else { Either::B(0) })
}

/// A caller's Uint8Array, valid during the call only. It may lie in guest memory, which the guest can change at any time, so Rust
/// creates no reference to its bytes.
pub struct JsBytes<'a>(pub SharedBytes<'a>);

impl FromNapiValue for JsBytes<'_> {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: passed on from our caller.
        let (start, len) = unsafe { array(env, value, sys::TypedarrayType::uint8_array) }?;
        // SAFETY: the array is an argument of the current call, and the engine keeps its bytes until that call returns.
        Ok(Self(if len == 0 { SharedBytes::EMPTY } else { unsafe { SharedBytes::new(start, len) } }))
    }
}

/// A copy of a caller's BigUint64Array, which may lie in guest memory.
pub struct JsWords(pub Vec<u64>);

impl FromNapiValue for JsWords {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: passed on from our caller.
        let (start, len) = unsafe { array(env, value, sys::TypedarrayType::biguint64_array) }?;
        // SAFETY: as above. The copy is complete before this function returns.
        Ok(Self(if len == 0 { Vec::new() } else { unsafe { SharedBytes::new(start, len * 8) }.to_words() }))
    }
}

/// Returns the address of the first byte and the number of elements of a typed array.
///
/// # Safety
/// `env` and `value` are valid.
unsafe fn array(env: sys::napi_env, value: sys::napi_value, expected: i32) -> napi::Result<(*mut u8, usize)> {
    let (mut kind, mut len, mut start) = (0, 0, null_mut());
    // SAFETY: the caller promises that `env` and `value` are valid; the engine writes only to the given variables.
    check_status!(unsafe {
        sys::napi_get_typedarray_info(env, value, &raw mut kind, &raw mut len, &raw mut start, null_mut(), null_mut())
    })?;
    if kind != expected {
        return Err(Error::new(Status::InvalidArg, "expected an array of another type"));
    }
    Ok((start.cast(), len))
}
