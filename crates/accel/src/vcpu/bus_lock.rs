//! A machine's bus locks: counts them, emits events, and keeps a vCPU outside the guest for some time.

use super::Shared as VcpuShared;
use crate::cpu::bus_lock::Throttle;
use crate::event::{BusLockEvent, Event};
use crate::instruction::{bytes_at_rip, disassemble};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// State that the vCPU threads of a machine share if bus locks are limited.
#[derive(Debug)]
pub struct Shared {
    throttle: Mutex<Throttle>,
    totals: Vec<AtomicU64>,
    start: Instant,
}

impl Shared {
    /// Creates the state for a limit of `per_second`.
    pub fn new(per_second: u64, vcpus: usize) -> Self {
        Self {
            throttle: Mutex::new(Throttle::new(per_second)),
            totals: (0..vcpus).map(|_| AtomicU64::new(0)).collect(),
            start: Instant::now(),
        }
    }

    pub fn totals(&self) -> Vec<u64> {
        self.totals.iter().map(|total| total.load(Ordering::Relaxed)).collect()
    }
}

/// Counts the lock, emits an event and waits. A pause, a stop or an NMI ends the wait.
pub fn handle(shared: &VcpuShared, vcpu: &Vcpu, index: usize) {
    let Some(locks) = &shared.bus_locks else { return };
    let total = locks.totals.get(index).map_or(0, |total| total.fetch_add(1, Ordering::Relaxed) + 1);
    let throttled = lock(&locks.throttle).delay(locks.start.elapsed());
    let registers = vcpu.registers().unwrap_or_default();
    let instruction = disassemble(&bytes_at_rip(vcpu, &registers, &shared.ram), &registers);
    let event = BusLockEvent { vcpu: vcpu.id(), registers, instruction, total, throttled };
    shared.sink.emit(Event::BusLock(Box::new(event)));
    shared.control.hold_back(index, throttled, || shared.ram.lost().is_some());
}
