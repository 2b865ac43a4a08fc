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

/// A vCPU of this thread.
#[napi]
pub struct BindingKvmVcpu(Rc<RefCell<Option<Vcpu>>>);

impl BindingKvmVcpu {
    pub(super) fn new(vcpu: Vcpu) -> Self {
        Self(Rc::new(RefCell::new(Some(vcpu))))
    }
}

#[napi]
impl BindingKvmVcpu {
    /// KVM_RUN as a function of its own, because calling one costs half of calling a method: KVM_EXIT_*, or an error number, negative;
    /// -EINTR means to call again.
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

    /// The shared pages; 0 when this runtime has no external buffers.
    #[napi]
    pub fn run_page(&self, env: Env) -> napi::Result<Either<ArrayBuffer<'static>, i32>> {
        match self.0.borrow().as_ref() {
            Some(vcpu) => view::of(&env, vcpu.pages().clone()),
            None => Ok(Either::B(-EBADF)),
        }
    }

    /// For `kickVcpu`.
    #[napi]
    pub fn token(&self) -> u32 {
        self.0.borrow().as_ref().map_or(0, Vcpu::token)
    }

    /// An ioctl that takes a number.
    #[napi]
    pub fn with_value(&self, request: u32, value: i64) -> i32 {
        self.0.borrow().as_ref().map_or(-EBADF, |vcpu| super::answer(vcpu.with_value(request, bits(value))))
    }

    /// An ioctl that takes a structure.
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
