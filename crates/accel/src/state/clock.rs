//! Stops kvmclock with the machine: reads it once when the last vCPU has left the guest, and sets it when the vCPUs
//! enter again. So a guest's time does not advance meanwhile.

use crate::Result;
use kvm_accel_kvm::fd::VmClock;
use kvm_accel_kvm::lock;
use std::sync::Mutex;

/// A VM's clock.
#[derive(Debug)]
pub struct Clock {
    vm: VmClock,
    /// The nanoseconds at the stop, or the error of reading them.
    held: Mutex<Option<kvm_accel_kvm::Result<u64>>>,
}

impl Clock {
    pub const fn new(vm: VmClock) -> Self {
        Self { vm, held: Mutex::new(None) }
    }

    /// Reads the clock. Called when the machine has stopped.
    pub fn hold(&self) {
        let now = self.vm.get();
        *lock(&self.held) = Some(now);
    }

    /// Sets the clock. Called when the machine resumes. The error is that of either call.
    pub fn release(&self) -> Result<()> {
        let held = lock(&self.held).take();
        held.map_or(Ok(()), |now| Ok(self.vm.set(now?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_accel_kvm::fd::System;
    use std::path::Path;

    const MINUTE: u64 = 60_000_000_000;

    #[test]
    fn test_clock_stands_still_from_hold_to_release() {
        let system = match System::open(Path::new("/dev/kvm")) {
            Ok(system) => system,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "CI needs /dev/kvm: {error}");
                println!("skipped: {error}");
                return;
            }
        };
        let vm = system.create_vm().unwrap();
        let clock = Clock::new(vm.clock());
        clock.release().unwrap();
        let held = 1 << 50;
        clock.vm.set(held).unwrap();
        clock.hold();
        // As if nine days had passed.
        clock.vm.set(2 * held).unwrap();
        clock.release().unwrap();
        let now = clock.vm.get().unwrap();
        assert!((held..held + 10 * MINUTE).contains(&now), "{now}");
        // Only once: a second resume without a stop in between sets nothing.
        clock.vm.set(2 * held).unwrap();
        clock.release().unwrap();
        assert!(clock.vm.get().unwrap() >= 2 * held);
    }
}
