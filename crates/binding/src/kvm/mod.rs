//! KVM's object model: one class for each kind of file descriptor, and their common functions.
//!
//! A call returns what the kernel returns: the result, or a negated error number. A call on a closed object returns -EBADF.

mod device;
mod event_fd;
mod system;
mod vcpu;
mod view;
mod vm;

use kvm_accel_kvm_objects::{Result, kicks, memory};
use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Either};
use napi_derive::napi;
use std::cell::RefCell;

const EBADF: i32 = 9;
const EINVAL: i32 = 22;

/// Returns the result of an ioctl, or the negated error number.
fn answer(result: Result<u32>) -> i32 {
    match result {
        // The ioctls that are called here return no value with the sign bit: fds, counts, frequencies in kHz.
        Ok(value) => value.cast_signed(),
        Err(error) => -error.errno(),
    }
}

/// Something that can be closed before its JavaScript object is collected.
struct Closable<T>(RefCell<Option<T>>);

impl<T> Closable<T> {
    const fn new(value: T) -> Self {
        Self(RefCell::new(Some(value)))
    }

    fn call(&self, call: impl FnOnce(&T) -> Result<u32>) -> i32 {
        self.0.borrow().as_ref().map_or(-EBADF, |value| answer(call(value)))
    }

    /// The object that the call created, or the negated error number.
    fn make<R>(&self, call: impl FnOnce(&T) -> Result<R>) -> Either<R, i32> {
        match self.0.borrow().as_ref().map(call) {
            None => Either::B(-EBADF),
            Some(Ok(value)) => Either::A(value),
            Some(Err(error)) => Either::B(-error.errno()),
        }
    }

    fn close(&self) {
        drop(self.0.take());
    }
}

/// Converts a JavaScript number to the kernel's unsigned 64-bit integer. Negative numbers wrap, as in C.
const fn bits(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Maps `size` bytes of guest memory. Returns a negated error number if the mapping fails, and 0 if this runtime has no external
/// buffers.
#[napi]
pub fn allocate_guest_memory(env: Env, size: i64) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
    let Ok(size) = usize::try_from(size) else { return Ok(Either::B(-EINVAL)) };
    match memory::allocate(size) {
        Ok(mapping) => view::of(&env, mapping),
        Err(error) => Ok(Either::B(-error.errno())),
    }
}

/// Kicks a vCPU, which may belong to any thread. Returns false if the vCPU is closed.
#[napi]
pub fn kick_vcpu(token: u32) -> bool {
    kicks::kick(token)
}
