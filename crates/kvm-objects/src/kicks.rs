//! Kicks a vCPU from any thread, by a token, because the vCPU itself must stay on its thread.

use crate::watch::Watched;
use kvm_accel_kvm::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

static VCPUS: Mutex<Option<HashMap<u32, Weak<Watched>>>> = Mutex::new(None);

/// Assigns a token to a vCPU.
pub(super) fn register(vcpu: &Arc<Watched>) -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut vcpus = lock(&VCPUS);
    let vcpus = vcpus.get_or_insert_default();
    let mut token = NEXT.fetch_add(1, Ordering::Relaxed);
    while vcpus.contains_key(&token) {
        token = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    vcpus.insert(token, Arc::downgrade(vcpu));
    token
}

pub(super) fn forget(token: u32) {
    if let Some(vcpus) = lock(&VCPUS).as_mut() {
        vcpus.remove(&token);
    }
}

/// Ends the current or next KVM_RUN of a vCPU with KVM_EXIT_INTR. Returns false if the vCPU is closed.
pub fn kick(token: u32) -> bool {
    let vcpus = lock(&VCPUS);
    let vcpu = vcpus.as_ref().and_then(|vcpus| vcpus.get(&token)).and_then(Weak::upgrade);
    vcpu.is_some_and(|vcpu| {
        vcpu.kick();
        true
    })
}
