//! irqfd: an eventfd that raises a GSI without an exit to user space, and the resample eventfd that reports the
//! acknowledgement.

use crate::Result;
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::IrqCalls;
use kvm_accel_kvm::lock;
use kvm_accel_kvm::trace::trace;
use std::sync::{Arc, Mutex, MutexGuard};
use vmm_sys_util::eventfd::EventFd;

/// An eventfd whose writes raise a GSI, until this value is dropped.
///
/// With a resample eventfd the GSI is level-triggered: it stays raised until the guest acknowledges it. Then the
/// resample eventfd is signalled, and each device whose interrupt is still pending writes again.
#[derive(Debug)]
pub struct Irqfd {
    event: EventFd,
    gsi: u32,
    calls: IrqCalls,
    /// The table that holds the resample eventfd, if the kernel does not handle it.
    resamples: Option<Arc<Resamples>>,
}

impl Irqfd {
    /// Raises the GSI.
    pub fn raise(&self) {
        // Fails only when the counter is full. An interrupt is pending already then.
        let _ = self.event.write(1);
    }

    /// Returns the GSI.
    #[must_use]
    pub const fn gsi(&self) -> u32 {
        self.gsi
    }

    /// Returns the eventfd, for another process or thread that raises the GSI.
    #[must_use]
    pub const fn event(&self) -> &EventFd {
        &self.event
    }
}

impl Drop for Irqfd {
    fn drop(&mut self) {
        // Fails only when the VM no longer exists, and its irqfds with it.
        let _ = self.calls.deassign_irqfd(&self.event, self.gsi);
        if let Some(resamples) = &self.resamples {
            resamples.remove(self.gsi);
        }
    }
}

/// Creates a non-blocking eventfd.
pub fn eventfd(context: impl FnOnce() -> String) -> Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        KvmError::Ioctl { ioctl: "eventfd", context: context(), errno }.into()
    })
}

/// Calls KVM_IRQFD. Passes `resample` to the kernel if the IOAPIC is in the kernel. Adds it to the table `user_space`
/// otherwise.
pub fn assign(
    calls: &IrqCalls,
    gsi: u32,
    resample: Option<EventFd>,
    user_space: Option<&Arc<Resamples>>,
) -> Result<Irqfd> {
    let event = eventfd(|| format!("GSI {gsi}"))?;
    match (resample, user_space) {
        (Some(resample), Some(resamples)) => {
            calls.assign_irqfd(&event, gsi, None)?;
            resamples.insert(gsi, resample);
            Ok(Irqfd { event, gsi, calls: calls.clone(), resamples: Some(Arc::clone(resamples)) })
        }
        (resample, _) => {
            calls.assign_irqfd(&event, gsi, resample.as_ref())?;
            Ok(Irqfd { event, gsi, calls: calls.clone(), resamples: None })
        }
    }
}

/// The resample eventfds of an IOAPIC outside the kernel, by GSI.
#[derive(Debug, Default)]
pub struct Resamples(Mutex<Vec<(u32, EventFd)>>);

impl Resamples {
    fn lock(&self) -> MutexGuard<'_, Vec<(u32, EventFd)>> {
        lock(&self.0)
    }

    fn insert(&self, gsi: u32, resample: EventFd) {
        self.lock().push((gsi, resample));
    }

    fn remove(&self, gsi: u32) {
        self.lock().retain(|(of, _)| *of != gsi);
    }

    /// Signals the resample eventfds of `gsi`. Returns whether there are any.
    pub fn signal(&self, gsi: u32) -> bool {
        let resamples = self.lock();
        let mut any = false;
        for (_, resample) in resamples.iter().filter(|(of, _)| *of == gsi) {
            trace!(KvmResampleFdNotify { gsi });
            // A full counter already signals the eventfd.
            let _ = resample.write(1);
            any = true;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_eoi_signals_the_eventfds_of_its_gsi_until_they_are_removed() {
        let resamples = Resamples::default();
        let of = |gsi| {
            let event = eventfd(String::new).unwrap();
            resamples.insert(gsi, event.try_clone().unwrap());
            event
        };
        let (first, second, other) = (of(5), of(5), of(6));
        assert!(resamples.signal(5));
        assert_eq!([&first, &second].map(|event| event.read().unwrap()), [1, 1]);
        assert!(other.read().is_err());
        resamples.remove(5);
        assert_eq!((resamples.signal(5), resamples.signal(6)), (false, true));
    }
}
