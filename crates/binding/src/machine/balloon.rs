//! The memory balloon. Sizes are in pages of 4 KiB.

use super::handle::BindingMachine;
use napi_derive::napi;
use std::time::SystemTime;

/// Memory statistics that the guest has reported.
#[napi(object, object_from_js = false)]
pub struct BindingBalloonStatistics {
    /// Time of the report, in milliseconds since 1970.
    pub time: f64,
    /// Values by the tag numbers of the virtio specification.
    pub values: Vec<Option<f64>>,
}

#[napi]
impl BindingMachine {
    /// Asks the guest to change the balloon to `pages` pages.
    #[napi]
    pub fn set_balloon_target(&self, pages: u32) {
        if let Some(balloon) = self.machine.direct().balloon() {
            balloon.set_target(pages);
        }
    }

    /// Returns the number of pages in the balloon. The next change causes a `balloon-change` event.
    #[napi]
    pub fn balloon_pages(&self) -> u32 {
        self.machine.direct().balloon().map_or(0, |balloon| balloon.actual())
    }

    /// Returns the guest's last report.
    #[napi]
    pub fn balloon_statistics(&self) -> Option<BindingBalloonStatistics> {
        let statistics = self.machine.direct().balloon()?.statistics()?;
        let time = statistics.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a double holds 2^53 milliseconds exactly")]
        let values = statistics.values().iter().map(|value| value.map(|value| value as f64)).collect();
        Some(BindingBalloonStatistics { time: time.as_secs_f64() * 1000.0, values })
    }
}
