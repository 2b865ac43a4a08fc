//! The balloon (section 5.5): the guest gives pages back to the host.
//!
//! - [`Balloon`]: the device, and its interface for the host.
//! - `config_space`: the requested and the current size. [`Statistics`]: the guest's memory statistics.
//! - `pages`: translates page numbers into memory ranges. `worker`: the queues.

mod config_space;
mod pages;
mod statistics;
#[cfg(test)]
mod tests;
mod worker;

pub use pages::PAGE;
pub use statistics::{Statistic, Statistics};

use crate::MachineConfigError;
use crate::virtio::interface::{ConfigInterrupt, Driver, VirtioDevice, Worker};
use config_space::ConfigSpace;
use kvm_accel::lock;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use worker::Queues;

/// VIRTIO_BALLOON_F_MUST_TELL_HOST.
const FEATURE_TELLS: u64 = 1;
/// VIRTIO_BALLOON_F_STATS_VQ.
const FEATURE_STATISTICS: u64 = 1 << 1;
/// VIRTIO_BALLOON_F_DEFLATE_ON_OOM.
const FEATURE_DEFLATE_ON_OOM: u64 = 1 << 2;
/// VIRTIO_BALLOON_F_PAGE_POISON.
const FEATURE_PAGE_POISON: u64 = 1 << 4;
/// VIRTIO_BALLOON_F_PAGE_REPORTING.
const FEATURE_REPORTING: u64 = 1 << 5;

/// The sizes of the inflate, deflate, statistics and reporting queues, as in QEMU.
const QUEUES: [u16; 4] = [128, 128, 128, 32];

/// The configuration of a balloon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalloonConfig {
    /// A guest that runs out of memory may take pages out of the balloon.
    pub deflate_on_oom: bool,
    /// The guest reports free pages, which the host reclaims until the guest uses them again.
    pub free_page_reporting: bool,
    /// The interval between requests for statistics; zero for never.
    pub statistics_interval: Duration,
}

/// `virtio-balloon`: the device.
///
/// ```
/// use kvm_accel_machine::virtio::{Balloon, BalloonConfig};
///
/// let balloon = Balloon::new(&BalloonConfig { deflate_on_oom: true, ..Default::default() })?;
/// // 64 MiB, as soon as there is a driver.
/// balloon.set_target((64 << 20) / 4096);
/// assert_eq!(balloon.actual(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Balloon {
    features: u64,
    shared: Arc<Shared>,
}

impl Balloon {
    /// Creates a device with an empty balloon.
    ///
    /// # Errors
    /// When the kernel cannot create a timer.
    pub fn new(config: &BalloonConfig) -> Result<Self, MachineConfigError> {
        let mut features = FEATURE_TELLS | FEATURE_STATISTICS;
        if config.deflate_on_oom {
            features |= FEATURE_DEFLATE_ON_OOM;
        }
        if config.free_page_reporting {
            // If the driver poisons free pages, it reports none unless it can negotiate PAGE_POISON, too.
            features |= FEATURE_REPORTING | FEATURE_PAGE_POISON;
        }
        let timer = timer(config.statistics_interval).map_err(|error| {
            let message = format!("cannot create the timer of virtio-balloon: {error}");
            MachineConfigError::new("balloon", message, "Raise the limit on open files (ulimit -n).")
        })?;
        let shared = Shared {
            config: Mutex::default(),
            driver: Mutex::default(),
            statistics: Mutex::default(),
            timer,
            change_reported: AtomicBool::new(false),
            changed: OnceLock::new(),
        };
        Ok(Self { features, shared: Arc::new(shared) })
    }

    /// Requests a balloon of `pages` pages of 4 KiB, now and after each reset. The guest takes some time, and may not reach that size.
    pub fn set_target(&self, pages: u32) {
        lock(&self.shared.config).target = pages;
        if let Some(driver) = &*lock(&self.shared.driver) {
            driver.signal();
        }
    }

    /// Returns the number of pages in the balloon, as reported by the guest. After this call, the next change is reported to
    /// [`on_change`](Self::on_change).
    #[must_use]
    pub fn actual(&self) -> u32 {
        self.shared.change_reported.store(false, Ordering::SeqCst);
        lock(&self.shared.config).actual
    }

    /// Returns the guest's latest statistics; `None` before its driver has sent any.
    #[must_use]
    pub fn statistics(&self) -> Option<Statistics> {
        lock(&self.shared.statistics).clone()
    }

    /// Registers a callback for changes of [`actual`](Self::actual). After a call, `changed` is not called again until
    /// [`actual`](Self::actual) has been read. vCPU threads and the device's thread call it, so it must not block. Only the first
    /// registration counts.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        // A second registration is ignored.
        let _ = self.shared.changed.set(Box::new(changed));
    }
}

/// Creates a timer that fires at this interval, or never if it is zero.
fn timer(interval: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: interval, it_value: interval })?;
    Ok(timer)
}

/// State that the host, the registers and the worker share. No two of its locks are held at once.
struct Shared {
    config: Mutex<ConfigSpace>,
    /// Present while a driver is active.
    driver: Mutex<Option<ConfigInterrupt>>,
    statistics: Mutex<Option<Statistics>>,
    /// Fires when the worker has to request statistics.
    timer: OwnedFd,
    /// A change was reported, and `actual` has not been read since.
    change_reported: AtomicBool,
    changed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    /// Changes the configuration space. Reports a change of `actual` after it has released the lock.
    fn change(&self, change: impl FnOnce(&mut ConfigSpace)) {
        let changed = {
            let mut config = lock(&self.config);
            let before = config.actual;
            change(&mut config);
            config.actual != before
        };
        if changed
            && !self.change_reported.swap(true, Ordering::SeqCst)
            && let Some(changed) = self.changed.get()
        {
            changed();
        }
    }

    /// Returns the value with which the driver fills free pages.
    fn poison(&self) -> u32 {
        lock(&self.config).poison
    }

    fn timer_source(&self) -> PollFd<'_> {
        PollFd::new(&self.timer, PollFlags::IN)
    }

    fn timer_fired(&self) {
        // The number of expirations does not matter.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
    }

    /// Resets the state when the driver has gone: the next driver does not know the pages in the balloon.
    fn driver_gone(&self) {
        *lock(&self.driver) = None;
        *lock(&self.statistics) = None;
        self.change(ConfigSpace::driver_gone);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &lock(&self.config)).finish_non_exhaustive()
    }
}

impl VirtioDevice for Balloon {
    fn name(&self) -> &'static str {
        "virtio-balloon"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queues(&self) -> &[u16] {
        if self.features & FEATURE_REPORTING == 0 { &QUEUES[..3] } else { &QUEUES }
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        lock(&self.shared.config).read(offset, data);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        self.shared.change(|config| config.write(offset, data));
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        *lock(&self.shared.driver) = Some(driver.config.clone());
        Box::new(Queues::new(Arc::clone(&self.shared), driver))
    }
}
