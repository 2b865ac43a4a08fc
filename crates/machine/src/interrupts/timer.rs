//! The thread that ticks the PIT.

use super::UserChips;
use std::sync::Arc;
use std::thread::JoinHandle;

const STACK_SIZE: usize = 128 << 10;
/// The line that channel 0 drives.
const TIMER_LINE: u8 = 0;

/// The PIT's thread. Dropping it ends the thread.
pub struct PitTimer {
    chips: Arc<UserChips>,
    thread: Option<JoinHandle<()>>,
}

impl PitTimer {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the host cannot start a thread.
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
            // The thread returns no value. A panic of it is ignored during teardown.
            let _ = thread.join();
        }
    }
}
