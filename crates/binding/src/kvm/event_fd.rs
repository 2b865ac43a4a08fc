//! An eventfd.

use super::{Closable, EINVAL};
use kvm_accel_kvm_objects::EventFd;
use napi::bindgen_prelude::{BigInt, Either};
use napi_derive::napi;

/// A counter that the kernel and this process share.
#[napi]
pub struct BindingEventFd(Closable<EventFd>);

/// Creates an eventfd.
#[napi]
pub fn create_event_fd() -> Either<BindingEventFd, i32> {
    match EventFd::new() {
        Ok(event) => Either::A(BindingEventFd(Closable::new(event))),
        Err(error) => Either::B(-error.errno()),
    }
}

#[napi]
impl BindingEventFd {
    /// Returns the descriptor, or a negated error number.
    #[napi]
    pub fn number(&self) -> i32 {
        self.0.call(|event| Ok(event.number().cast_unsigned()))
    }

    /// Reads the counter and sets it to 0.
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

    /// Closes the eventfd. An irqfd or ioeventfd that uses it stays until the VM ends.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}
