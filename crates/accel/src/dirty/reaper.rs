//! A thread that harvests the dirty rings periodically, so that a vCPU seldom has to exit because its ring is full.

use super::DirtyLog;
use crate::Result;
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::trace::{Trace, trace};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The same period as in QEMU.
const PERIOD: Duration = Duration::from_secs(1);
const STACK_SIZE: usize = 128 << 10;

/// The reaper thread. It ends when this value is dropped.
#[derive(Debug)]
pub struct Reaper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Starts the thread.
    pub fn start(log: DirtyLog) -> Result<Self> {
        let (stop, stopped) = channel();
        let trace = Trace::current();
        let reap = move || {
            let _scope = trace.enter();
            trace!(KvmDirtyRingReaper { s: "init".into() });
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                trace!(KvmDirtyRingReaper { s: "wakeup".into() });
                // The rings keep the error, and the next caller that takes the pages receives it.
                let _ = log.reap();
                trace!(KvmDirtyRingReaper { s: "wait".into() });
            }
        };
        let builder = std::thread::Builder::new().name("kvm-reaper".into()).stack_size(STACK_SIZE);
        let thread = builder.spawn(reap).map_err(|error| KvmError::Ioctl {
            ioctl: "clone",
            context: "the thread of the dirty rings".into(),
            errno: error.raw_os_error().unwrap_or(libc::EAGAIN),
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Reaping does not panic, so `join` returns no payload to pass on.
            let _ = thread.join();
        }
    }
}
