//! KVM's object model: one class for each kind of fd, and what they have in common.
//!
//! An ioctl's result crosses as the kernel gives it: the answer, or the error number, negative. A closed object answers -EBADF.

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

/// As ioctl(2) in the kernel.
fn answer(result: Result<u32>) -> i32 {
    match result {
        // No answer of an ioctl here has the sign bit: fds, counts, frequencies in kHz.
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

    /// What the call made, or the error number, negative.
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

/// `value` where the kernel wants one of 64 bits; -1 and below are large.
const fn bits(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Guest memory of `size` bytes; an error number, negative, when it cannot be mapped, 0 when this runtime has no external buffers.
#[napi]
pub fn allocate_guest_memory(env: Env, size: i64) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
    let Ok(size) = usize::try_from(size) else { return Ok(Either::B(-EINVAL)) };
    match memory::allocate(size) {
        Ok(mapping) => view::of(&env, mapping),
        Err(error) => Ok(Either::B(-error.errno())),
    }
}

/// Kicks a vCPU of any thread; false when it is closed.
#[napi]
pub fn kick_vcpu(token: u32) -> bool {
    kicks::kick(token)
}
