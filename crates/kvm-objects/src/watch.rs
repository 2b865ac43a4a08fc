//! A thread that interrupts long-running vCPUs periodically, so that the calling JavaScript engine can process its
//! events. A worker that is to be terminated ends only while it runs its own code.

use crate::errno::{Result, refuse};
use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::Kick;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// A guest that makes no exit runs for between one and two periods before it is interrupted.
const PERIOD: Duration = Duration::from_millis(50);

/// The part of a vCPU that other threads access.
#[derive(Debug)]
pub struct Watched {
    kick: Kick,
    /// Odd while the vCPU's thread is in KVM_RUN. Only that thread writes it.
    entries: AtomicU32,
}

impl Watched {
    pub const fn new(kick: Kick) -> Self {
        Self { kick, entries: AtomicU32::new(0) }
    }

    fn step(&self) {
        let entries = self.entries.load(Ordering::Relaxed);
        self.entries.store(entries.wrapping_add(1), Ordering::Relaxed);
    }

    /// Marks that the vCPU's thread is about to call KVM_RUN.
    pub fn enter(&self) {
        self.step();
    }

    /// Marks that KVM_RUN has returned.
    pub fn leave(&self) {
        self.step();
    }

    /// Ends the current or next KVM_RUN.
    pub fn kick(&self) {
        // If the signal fails, the thread sees the kick at its next exit.
        let _ = self.kick.kick();
    }

    /// Removes the target: the vCPU is closed, and its thread may end.
    pub fn disarm(&self) {
        self.kick.disarm();
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Each vCPU with the value of its `entries` at the last check.
    vcpus: Mutex<Vec<(Weak<Watched>, u32)>>,
    ended: Mutex<bool>,
    end: Condvar,
}

/// The watching thread. It runs while a vCPU exists, and the last vCPU joins it: a worker that loaded this library may
/// unload it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches a vCPU, with the existing thread or a new one.
    pub fn over(vcpu: &Arc<Watched>) -> Result<Arc<Self>> {
        static CURRENT: Mutex<Weak<Watch>> = Mutex::new(Weak::new());
        let mut current = lock(&CURRENT);
        let watch = match current.upgrade() {
            Some(watch) => watch,
            None => Arc::new(Self::start()?),
        };
        *current = Arc::downgrade(&watch);
        let mut vcpus = lock(&watch.shared.vcpus);
        vcpus.push((Arc::downgrade(vcpu), 0));
        drop(vcpus);
        Ok(watch)
    }

    fn start() -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let seen = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("kvm-accel watch".into());
        let thread = builder.spawn(move || seen.watch()).map_err(|_| refuse(libc::EAGAIN))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Shared {
    fn watch(&self) {
        let mut ended = lock(&self.ended);
        while !*ended {
            ended = self.end.wait_timeout(ended, PERIOD).unwrap_or_else(PoisonError::into_inner).0;
            self.look();
        }
    }

    /// Interrupts every vCPU that is still in the same KVM_RUN as at the last check.
    fn look(&self) {
        lock(&self.vcpus).retain_mut(|(vcpu, last)| {
            let Some(vcpu) = vcpu.upgrade() else { return false };
            let entries = vcpu.entries.load(Ordering::Relaxed);
            if entries % 2 == 1 && entries == *last {
                // The next check tries again.
                let _ = vcpu.kick.interrupt();
            }
            *last = entries;
            true
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *lock(&self.shared.ended) = true;
        self.shared.end.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
