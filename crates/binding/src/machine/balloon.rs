//! The balloon as JavaScript sees it, in pages of 4 KiB.

use super::handle::BindingMachine;
use napi_derive::napi;
use std::time::SystemTime;

/// What the guest says of its memory.
#[napi(object, object_from_js = false)]
pub struct BindingBalloonStatistics {
    /// Milliseconds since 1970.
    pub time: f64,
    /// By the specification's numbers.
    pub values: Vec<Option<f64>>,
}

#[napi]
impl BindingMachine {
    /// Asks the guest for a balloon of so many pages.
    #[napi]
    pub fn set_balloon_target(&self, pages: u32) {
        if let Some(balloon) = self.machine.direct().balloon() {
            balloon.set_target(pages);
        }
    }

    /// How many pages are in the balloon; a `balloon-change` event tells of changes after this.
    #[napi]
    pub fn balloon_pages(&self) -> u32 {
        self.machine.direct().balloon().map_or(0, |balloon| balloon.actual())
    }

    /// What the guest has said last.
    #[napi]
    pub fn balloon_statistics(&self) -> Option<BindingBalloonStatistics> {
        let statistics = self.machine.direct().balloon()?.statistics()?;
        let time = statistics.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a number of JavaScript is as good as that")]
        let values = statistics.values().iter().map(|value| value.map(|value| value as f64)).collect();
        Some(BindingBalloonStatistics { time: time.as_secs_f64() * 1000.0, values })
    }
}
