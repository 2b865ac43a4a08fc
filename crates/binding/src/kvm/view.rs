//! Mappings as ArrayBuffers: the one place of this crate with `unsafe`.
#![allow(unsafe_code)]

use kvm_accel::object::Mapping;
use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Either};
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
