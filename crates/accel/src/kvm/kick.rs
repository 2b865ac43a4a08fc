//! The kick: a real-time signal plus `immediate_exit`. Never SIGUSR1, which Node's inspector owns.
//!
//! A kick cannot be lost. The kicker stores its request, then `immediate_exit`, then signals; the vCPU thread clears
//! `immediate_exit` before it looks for requests. So either it sees the request, or its next KVM_RUN returns at once.

use super::run_page::ImmediateExit;
use std::sync::{Mutex, OnceLock, PoisonError};
use vmm_sys_util::errno;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

extern "C" fn ignore(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {}

/// Installs the handler, once per process. It does nothing: what matters is that system calls return EINTR, which
/// they do because the handler is installed without SA_RESTART.
pub fn install_handler() -> Result<(), errno::Error> {
    static INSTALLED: OnceLock<Result<(), errno::Error>> = OnceLock::new();
    *INSTALLED.get_or_init(|| register_signal_handler(SIGRTMIN(), ignore))
}

/// Takes a vCPU's thread out of the guest, or out of a blocking write of a device.
#[derive(Debug)]
pub struct Kick {
    immediate_exit: ImmediateExit,
    /// The thread to signal, while it runs. The lock keeps the id from being reused under a signal.
    thread: Mutex<Option<libc::pid_t>>,
}

impl Kick {
    /// For the vCPU whose shared pages have this byte.
    pub const fn new(immediate_exit: ImmediateExit) -> Self {
        Self { immediate_exit, thread: Mutex::new(None) }
    }

    /// Called by the vCPU's thread when it starts: opens the signal and names the thread to be kicked.
    pub fn attach(&self) {
        // A thread whose mask cannot be changed is still kicked by `immediate_exit`, only later.
        let _ = unblock_signal(SIGRTMIN());
        // SAFETY: gettid has no preconditions.
        let tid = unsafe { libc::gettid() };
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(tid);
    }

    /// The byte that takes the vCPU out of the guest.
    pub fn immediate_exit(&self) -> ImmediateExit {
        self.immediate_exit.clone()
    }

    /// Called by the vCPU's thread when it ends.
    pub fn detach(&self) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes the vCPU look at what is asked of it. The request must be stored before.
    pub fn kick(&self) {
        self.immediate_exit.set();
        self.interrupt();
    }

    /// Only the signal: takes the thread out of KVM_RUN if it is there, and asks nothing of it.
    pub fn interrupt(&self) {
        if let Some(tid) = *self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: the lock keeps the thread alive; a signal with an installed handler cannot harm it.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIGRTMIN()) };
        }
    }

    /// Called by the vCPU's thread before it looks at what is asked of it.
    pub fn acknowledge(&self) {
        self.immediate_exit.clear();
    }

    /// Called by the vCPU's thread: its next KVM_RUN completes pending I/O and returns without entering the guest.
    pub fn arm(&self) {
        self.immediate_exit.set();
    }
}
