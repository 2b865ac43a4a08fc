//! Starts the vCPU threads before their vCPUs exist.

use super::{Shared, thread};
use crate::state::VcpuState;
use crate::{Error, Result, StartState};
use kvm_accel_kvm::fd::Vcpu;
use kvm_accel_kvm::trace::Trace;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Stack size that suffices for the loop, the devices and a register report. The default of 2 MiB would only be
/// reserved.
const STACK_SIZE: usize = 256 << 10;

/// A vCPU that has not run, and the state that a reset restores.
pub(crate) struct PoweredVcpu {
    pub vcpu: Vcpu,
    pub power_on: Arc<VcpuState>,
    /// Where the boot protocol starts this vCPU. `None` for the other vCPUs, which wait for INIT and SIPI.
    pub start: Option<StartState>,
}

/// Threads that start before their vCPUs exist. Starting a thread takes about as long as creating a vCPU, so the two
/// overlap. Dropping this value joins the threads.
pub(crate) struct Starting(pub(super) Vec<StartingThread>);

pub(super) struct StartingThread {
    pub(super) vcpu: Sender<(PoweredVcpu, Arc<Shared>)>,
    pub(super) thread: JoinHandle<()>,
}

impl Starting {
    /// Starts `count` threads. Each waits for its vCPU.
    pub(crate) fn new(count: u32) -> Result<Self> {
        let mut this = Self(Vec::new());
        for id in 0..count {
            let (sender, vcpu) = channel();
            let trace = Trace::current();
            let thread = std::thread::Builder::new()
                .name(format!("CPU {id}/KVM"))
                .stack_size(STACK_SIZE)
                .spawn(move || {
                    let _scope = trace.enter_vcpu(id);
                    // The channel closes without a vCPU when the creation of the machine fails.
                    if let Ok((powered, shared)) = vcpu.recv() {
                        thread::VcpuThread::new(powered, shared).run();
                    }
                })
                .map_err(|e| Error::Thread { vcpu: id, errno: e.raw_os_error().unwrap_or(libc::EAGAIN) })?;
            this.0.push(StartingThread { vcpu: sender, thread });
        }
        Ok(this)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        for StartingThread { vcpu, thread } in self.0.drain(..) {
            drop(vcpu);
            // The thread has run no vCPU, so it has not panicked.
            let _ = thread.join();
        }
    }
}
