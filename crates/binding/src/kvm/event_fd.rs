//! An eventfd.

use super::{Closable, EINVAL};
use kvm_accel_kvm_objects::EventFd;
use napi::bindgen_prelude::{BigInt, Either};
use napi_derive::napi;

/// A counter that the kernel and this process share.
#[napi]
pub struct BindingEventFd(Closable<EventFd>);

/// Makes one.
#[napi]
pub fn create_event_fd() -> Either<BindingEventFd, i32> {
    match EventFd::new() {
        Ok(event) => Either::A(BindingEventFd(Closable::new(event))),
        Err(error) => Either::B(-error.errno()),
    }
}

#[napi]
impl BindingEventFd {
    /// The descriptor, or an error number, negative.
    #[napi]
    pub fn number(&self) -> i32 {
        self.0.call(|event| Ok(event.number().cast_unsigned()))
    }

    /// Takes what was counted.
    #[napi]
    pub fn take(&self) -> Either<BigInt, i32> {
        self.0.make(|event| event.take().map(BigInt::from))
    }

    /// Adds to the counter.
    #[napi]
    pub fn add(&self, count: BigInt) -> i32 {
        let (negative, count, exact) = count.get_u64();
        if negative || !exact {
            return -EINVAL;
        }
        self.0.call(|event| event.add(count).map(|()| 0))
    }

    /// Closes it; an irqfd or ioeventfd made with it stays until the VM ends.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}
