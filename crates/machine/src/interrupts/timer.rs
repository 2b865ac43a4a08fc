//! The thread that makes the PIT tick.

use super::UserChips;
use std::sync::Arc;
use std::thread::JoinHandle;

const STACK_SIZE: usize = 128 << 10;
/// The line that channel 0 drives.
const TIMER_LINE: u8 = 0;

/// Ends when it is dropped.
pub struct PitTimer {
    chips: Arc<UserChips>,
    thread: Option<JoinHandle<()>>,
}

impl PitTimer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(chips: Arc<UserChips>) -> std::io::Result<Self> {
        let ticking = Arc::clone(&chips);
        let builder = std::thread::Builder::new().name("kvm-accel PIT".into()).stack_size(STACK_SIZE);
        let thread = builder.spawn(move || {
            while ticking.wait_for_tick() {
                ticking.pulse(TIMER_LINE);
            }
        })?;
        Ok(Self { chips, thread: Some(thread) })
    }
}

impl Drop for PitTimer {
    fn drop(&mut self) {
        self.chips.end();
        if let Some(thread) = self.thread.take() {
            // It has nothing to pass on.
            let _ = thread.join();
        }
    }
}
