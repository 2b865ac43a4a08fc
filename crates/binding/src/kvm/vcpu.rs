//! A vCPU.

use super::view::JsBytes;
use super::{EBADF, bits, view};
use kvm_accel_kvm_objects::{Ran, Vcpu};
use napi::Env;
use napi::bindgen_prelude::{ArrayBuffer, Either, Function};
use napi_derive::napi;
use std::cell::RefCell;
use std::rc::Rc;

const EINTR: i32 = 4;

/// A vCPU that this thread has created.
#[napi]
pub struct BindingKvmVcpu(Rc<RefCell<Option<Vcpu>>>);

impl BindingKvmVcpu {
    pub(super) fn new(vcpu: Vcpu) -> Self {
        Self(Rc::new(RefCell::new(Some(vcpu))))
    }
}

#[napi]
impl BindingKvmVcpu {
    /// Returns a function that calls KVM_RUN: a call of a plain function costs half of a method call. The function returns KVM_EXIT_*,
    /// or a negated error number. -EINTR means: call again.
    #[napi(ts_return_type = "() => number")]
    pub fn runner<'env>(&self, env: &'env Env) -> napi::Result<Function<'env, (), i32>> {
        let vcpu = Rc::clone(&self.0);
        env.create_function_from_closure("run", move |_| {
            Ok(match vcpu.borrow().as_ref().map(Vcpu::run) {
                Some(Ran::Exit(reason)) => reason.cast_signed(),
                Some(Ran::Again) => -EINTR,
                Some(Ran::Failed(errno)) => -errno,
                None => -EBADF,
            })
        })
    }

    /// Returns the mapped `kvm_run` pages, or 0 if this runtime has no external buffers.
    #[napi]
    pub fn run_page(&self, env: Env) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
        match self.0.borrow().as_ref() {
            Some(vcpu) => view::of(&env, vcpu.pages().clone()),
            None => Ok(Either::B(-EBADF)),
        }
    }

    /// The argument of `kickVcpu`.
    #[napi]
    pub fn token(&self) -> u32 {
        self.0.borrow().as_ref().map_or(0, Vcpu::token)
    }

    /// Calls an ioctl whose argument is a number.
    #[napi]
    pub fn with_value(&self, request: u32, value: i64) -> i32 {
        self.0.borrow().as_ref().map_or(-EBADF, |vcpu| super::answer(vcpu.with_value(request, bits(value))))
    }

    /// Calls an ioctl whose argument is a structure.
    #[napi]
    pub fn with_bytes(&self, request: u32, #[napi(ts_arg_type = "Uint8Array")] bytes: JsBytes<'_>) -> i32 {
        self.0.borrow().as_ref().map_or(-EBADF, |vcpu| super::answer(vcpu.with_bytes(request, bytes.0)))
    }

    /// Closes the vCPU.
    #[napi]
    pub fn close(&self) {
        drop(self.0.take());
    }
}
