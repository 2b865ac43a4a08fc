//! The kick: a real-time signal plus `immediate_exit`. Never SIGUSR1, which Node's inspector owns.
//!
//! A kick cannot be lost. The kicker stores its request, then `immediate_exit`, then signals; the vCPU thread clears
//! `immediate_exit` before it looks for requests. So either it sees the request, or its next KVM_RUN returns at once.

use super::run_page::ImmediateExit;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use vmm_sys_util::errno;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler, unblock_signal};

thread_local! {
    /// Where the handler counts on this thread; null on one that runs no vCPU.
    static HANDLED: Cell<*const AtomicU64> = const { Cell::new(std::ptr::null()) };
}

extern "C" fn handle(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: `Kick::attach` set the pointer; the guard it gave borrows the counter, which so neither moves nor ends, and takes the
    // pointer back on this thread. The variable needs no destructor, so that nothing is allocated here.
    if let Some(handled) = unsafe { HANDLED.get().as_ref() } {
        handled.fetch_add(1, Ordering::SeqCst);
    }
}

/// Installs the handler, once per process. All it does is count: what matters is that system calls return EINTR, which
/// they do because the handler is installed without SA_RESTART.
pub fn install_handler() -> Result<(), errno::Error> {
    static INSTALLED: OnceLock<Result<(), errno::Error>> = OnceLock::new();
    *INSTALLED.get_or_init(|| register_signal_handler(SIGRTMIN(), handle))
}

/// Takes a vCPU's thread out of the guest, or out of a blocking write of a device.
#[derive(Debug)]
pub struct Kick {
    immediate_exit: ImmediateExit,
    /// The thread to signal, while it runs. The lock keeps the id from being reused under a signal.
    thread: Mutex<Option<libc::pid_t>>,
    /// Signals that the thread has handled, outside the guest as a matter of course.
    handled: AtomicU64,
}

impl Kick {
    /// For the vCPU whose shared pages have this byte.
    pub const fn new(immediate_exit: ImmediateExit) -> Self {
        Self { immediate_exit, thread: Mutex::new(None), handled: AtomicU64::new(0) }
    }

    /// Called by the vCPU's thread when it starts: [`Kick::aim`], and signals are counted as long as the guard lives.
    pub fn attach(&self) -> Attached<'_> {
        HANDLED.set(&raw const self.handled);
        self.aim();
        Attached { kick: self, _here: PhantomData }
    }

    /// Opens the signal and names this thread as the one to be kicked, until [`Kick::disarm`]. Counts nothing, so the value may move.
    pub fn aim(&self) {
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

    /// Kicks go to no thread any more.
    pub fn disarm(&self) {
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

    /// Makes the vCPU leave the guest once, wherever its thread is: returns when that has handled a signal since the call, or has
    /// ended. Even a thread that waits for a device or for the machine handles signals.
    pub fn take_out(&self) {
        let before = self.handled.load(Ordering::SeqCst);
        self.kick();
        let runs = || self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        while self.handled.load(Ordering::SeqCst) == before && runs() {
            std::thread::yield_now();
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

/// The thread that made it runs a vCPU, and counts its signals.
#[derive(Debug)]
pub struct Attached<'a> {
    kick: &'a Kick,
    _here: PhantomData<*const ()>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.kick.disarm();
        HANDLED.set(std::ptr::null());
    }
}

#[cfg(test)]
mod tests {
    use super::{HANDLED, Kick, install_handler};
    use crate::kvm::run_page::RunPage;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// The protocol of this module's head, in loom's memory: what is asked, `immediate_exit`, and a signal that KVM_RUN finds pending.
    struct Modelled {
        request: AtomicBool,
        /// A byte has one order of writes.
        immediate_exit: Mutex<bool>,
        /// The kernel keeps pending signals under a lock.
        signal: Mutex<bool>,
    }

    impl Modelled {
        fn new() -> Self {
            Self { request: AtomicBool::new(false), immediate_exit: Mutex::new(false), signal: Mutex::new(false) }
        }

        /// [`super::Kick::kick`] after the request was stored.
        fn kick(&self) {
            self.request.store(true, Ordering::Release);
            *self.immediate_exit.lock().unwrap() = true;
            *self.signal.lock().unwrap() = true;
        }

        /// The handler takes a pending signal away, if there is one.
        fn handle_signal(&self) -> bool {
            std::mem::take(&mut *self.signal.lock().unwrap())
        }

        /// KVM_RUN: comes back at once when a signal is pending or `immediate_exit` is set; else the guest runs.
        fn run(&self) -> bool {
            self.handle_signal() || *self.immediate_exit.lock().unwrap()
        }

        /// The vCPU's thread: acknowledges, looks, enters. True when it has seen the request or KVM_RUN comes back.
        fn turn(&self) -> bool {
            *self.immediate_exit.lock().unwrap() = false;
            if self.request.load(Ordering::Acquire) {
                return true;
            }
            // A signal that comes on the way to KVM_RUN is gone there.
            self.handle_signal();
            self.run()
        }
    }

    #[test]
    fn test_signals_are_counted_only_where_the_count_stays() {
        use std::sync::atomic::Ordering;
        install_handler().unwrap();
        let kick = Kick::new(RunPage::map(-1, 3 * 4096).unwrap().immediate_exit());
        kick.aim();
        assert!(HANDLED.get().is_null(), "a value that may move is not written to");
        kick.interrupt();
        assert_eq!(kick.handled.load(Ordering::SeqCst), 0);
        let attached = kick.attach();
        kick.interrupt();
        assert_eq!(kick.handled.load(Ordering::SeqCst), 1);
        drop(attached);
        assert!(HANDLED.get().is_null());
        kick.interrupt();
        assert_eq!(kick.handled.load(Ordering::SeqCst), 1, "nobody to signal");
    }

    #[test]
    fn test_a_kick_is_never_lost() {
        loom::model(|| {
            let vcpu = Arc::new(Modelled::new());
            let kicker = {
                let vcpu = Arc::clone(&vcpu);
                thread::spawn(move || vcpu.kick())
            };
            // A turn that goes into the guest is one that a later signal ends: the kick still has to come then.
            let seen = vcpu.turn();
            kicker.join().unwrap();
            if !seen {
                assert!(vcpu.run(), "the guest runs on, and nobody will come");
            }
            assert!(vcpu.turn(), "the request is seen in the turn after");
        });
    }
}
