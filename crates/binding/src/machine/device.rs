//! Devices that JavaScript answers for: on the main thread through events, on a worker by waiting.

use super::handle::BindingMachine;
use crate::messages::BindingDeviceAccess;
use kvm_accel_machine::devices::{Delegated, Next};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A worker in a native wait cannot be terminated: it comes back to JavaScript this often.
const PATIENCE: Duration = Duration::from_millis(20);

/// Devices that wait for their workers, by token.
static FOR_WORKERS: Mutex<BTreeMap<i64, Arc<Delegated>>> = Mutex::new(BTreeMap::new());

/// Puts a device where a worker finds it. No token is given twice: a worker that ends forgets its own late, when others may wait.
fn leave_for_worker(device: &Arc<Delegated>) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let token = NEXT.fetch_add(1, Ordering::Relaxed);
    FOR_WORKERS.lock().unwrap_or_else(PoisonError::into_inner).insert(token, Arc::clone(device));
    token
}

#[napi]
impl BindingMachine {
    /// What a worker takes a device over with; 0 when there is no such device.
    #[napi]
    pub fn device_token(&self, device: u32) -> i64 {
        self.machine.direct().device(device).map_or(0, |device| leave_for_worker(&device))
    }

    /// Raises or lowers the interrupt line of a device. Does nothing without a line, and after the end of the machine.
    #[napi]
    pub fn set_device_line(&self, device: u32, high: bool) {
        if let Some(device) = self.machine.direct().device(device) {
            device.set_line(high);
        }
    }

    /// Acknowledges a `device-reset` event.
    #[napi]
    pub fn device_reset_seen(&self, device: u32) {
        if let Some(device) = self.machine.direct().device(device) {
            device.take_reset();
        }
    }
}

/// The worker's side of a device.
#[napi]
pub struct BindingDeviceServer {
    device: Arc<Delegated>,
}

/// Takes over the device of a token; `null` when there is none.
#[napi]
pub fn take_device(token: i64) -> Option<BindingDeviceServer> {
    let device = FOR_WORKERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&token)?;
    Some(BindingDeviceServer { device })
}

/// Forgets a device whose worker never came: the guest reads all ones, and does not wait.
#[napi]
pub fn forget_device(token: i64) {
    if let Some(server) = take_device(token) {
        server.device.close();
    }
}

/// What the guest did next.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
pub enum BindingDeviceNext {
    /// It waits for an answer.
    Access { access: BindingDeviceAccess },
    /// The machine was reset.
    Reset,
    /// Nothing yet.
    Idle,
    /// The machine has ended.
    Closed,
}

#[napi]
impl BindingDeviceServer {
    /// Waits for an access, for some milliseconds.
    #[napi]
    pub fn next(&self) -> BindingDeviceNext {
        match self.device.next(PATIENCE) {
            Next::Access(access) => BindingDeviceNext::Access { access: access.into() },
            Next::Reset => BindingDeviceNext::Reset,
            Next::Idle => BindingDeviceNext::Idle,
            Next::Closed => BindingDeviceNext::Closed,
        }
    }

    /// Raises or lowers the interrupt line of the device.
    #[napi]
    pub fn set_line(&self, high: bool) {
        self.device.set_line(high);
    }

    /// Answers an access.
    #[napi]
    pub fn answer(&self, id: u32, value: BigInt) {
        self.device.answer(id, value.get_u64().1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_does_not_forget_the_device_of_another() {
        let device = Arc::new(Delegated::pulled());
        let ended = leave_for_worker(&device);
        assert!(take_device(ended).is_some());
        assert!(take_device(ended).is_none(), "served once");
        let waiting = leave_for_worker(&device);
        forget_device(ended);
        assert!(take_device(waiting).is_some());
    }
}
