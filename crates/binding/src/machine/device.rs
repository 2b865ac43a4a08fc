//! Devices that are implemented in JavaScript. The main thread receives the guest's accesses as events; a worker waits for them here.

use super::handle::BindingMachine;
use crate::messages::BindingDeviceAccess;
use kvm_accel::lock;
use kvm_accel_machine::devices::{Delegated, Next};
use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest native wait of a worker. Node.js cannot terminate a worker during a native call, so a worker returns to JavaScript this
/// often.
const PATIENCE: Duration = Duration::from_millis(20);

/// Devices that no worker has claimed yet, by token.
static FOR_WORKERS: Mutex<BTreeMap<i64, Arc<Delegated>>> = Mutex::new(BTreeMap::new());

/// Registers a device for a worker and returns its token. A token is never used twice, because a worker that ends may discard its own
/// token late, when other devices wait.
fn leave_for_worker(device: &Arc<Delegated>) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let token = NEXT.fetch_add(1, Ordering::Relaxed);
    lock(&FOR_WORKERS).insert(token, Arc::clone(device));
    token
}

#[napi]
impl BindingMachine {
    /// Returns the token with which a worker claims a device, or 0 for an unknown device.
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

/// The worker's end of a device.
#[napi]
pub struct BindingDeviceServer {
    device: Arc<Delegated>,
}

/// Claims the device of a token. Returns `null` for an unknown token.
#[napi]
pub fn take_device(token: i64) -> Option<BindingDeviceServer> {
    let device = lock(&FOR_WORKERS).remove(&token)?;
    Some(BindingDeviceServer { device })
}

/// Discards a device that no worker has claimed. The guest's reads then return all ones at once.
#[napi]
pub fn forget_device(token: i64) {
    if let Some(server) = take_device(token) {
        server.device.close();
    }
}

/// The result of a wait.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
pub enum BindingDeviceNext {
    /// The guest accesses the device and waits for an answer.
    Access { access: BindingDeviceAccess },
    /// The machine was reset.
    Reset,
    /// The guest has not accessed the device in the given time.
    Idle,
    /// The machine has ended.
    Closed,
}

#[napi]
impl BindingDeviceServer {
    /// Waits for an access, for a limited number of milliseconds.
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
