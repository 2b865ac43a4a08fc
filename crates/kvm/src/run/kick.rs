//! The kick of a vCPU: SIGURG plus `immediate_exit`.
//!
//! Every kick takes effect. The kicker stores its request, then sets `immediate_exit`, then sends the signal. The vCPU
//! thread clears `immediate_exit` before it checks for requests. So either it sees the request, or its next `KVM_RUN`
//! returns at once.
//!
//! The signal is SIGURG because:
//! - the kernel always delivers a standard signal, whereas a real-time signal fails with EAGAIN at the limit of pending
//!   signals (`ulimit -i`);
//! - neither Node.js nor libuv uses SIGURG, and by default a process ignores it. SIGUSR1 belongs to Node's inspector, SIGPROF to its CPU
//!   profiler, SIGUSR2 to tools such as nodemon.
//!
//! One process can contain several copies of this code (npm installs two versions of the addon) and other users of
//! SIGURG. So our handler calls the handler that was installed before, and [`install_handler`] checks that our handler
//! is still called.

use super::bell::{Bell, Ticket};
use super::run_page::ImmediateExit;
use crate::lock;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use vmm_sys_util::errno;

/// The signal that interrupts `KVM_RUN` and blocking system calls of devices.
pub const SIGNAL: c_int = libc::SIGURG;

/// How many times a signal is sent again after EAGAIN.
const ATTEMPTS: u32 = 8;
/// How long [`Kick::kick_and_wait`] waits before it sends the signal again. Another handler may have replaced ours in
/// between.
const AGAIN: Duration = Duration::from_millis(10);

/// A thread that runs a vCPU, as the handler sees it. Entries are leaked and reused, so that the handler may read them
/// at any time. A thread-local variable is unsuitable: in a library that was loaded later, a thread's first access to
/// one allocates memory.
pub(super) struct Thread {
    next: Option<&'static Thread>,
    taken: AtomicBool,
    /// The thread's id; 0 while the entry is free.
    id: AtomicI32,
    /// Number of signals that the thread has handled. A handler runs outside the guest, so an increase means that the
    /// vCPU has left the guest.
    pub(super) handled: AtomicU64,
}

static THREADS: AtomicPtr<Thread> = AtomicPtr::new(null_mut());

pub(super) fn threads() -> impl Iterator<Item = &'static Thread> {
    // SAFETY: entries are leaked: a pointer from the list is null or valid forever.
    let first = unsafe { THREADS.load(SeqCst).as_ref() };
    std::iter::successors(first, |thread| thread.next)
}

impl Thread {
    /// Takes an entry for the calling thread.
    fn register() -> &'static Self {
        let entry = threads().find(|entry| !entry.taken.swap(true, SeqCst)).unwrap_or_else(|| {
            static ADDING: Mutex<()> = Mutex::new(());
            let _adding = lock(&ADDING);
            // SAFETY: as in `threads`.
            let next = unsafe { THREADS.load(SeqCst).as_ref() };
            let (taken, id, handled) = (AtomicBool::new(true), AtomicI32::new(0), AtomicU64::new(0));
            let entry = Box::leak(Box::new(Self { next, taken, id, handled }));
            THREADS.store(entry, SeqCst);
            entry
        });
        entry.id.store(thread_id(), SeqCst);
        entry
    }

    fn unregister(&self) {
        self.id.store(0, SeqCst);
        self.taken.store(false, SeqCst);
    }
}

pub(super) fn thread_id() -> libc::pid_t {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

/// The action for [`SIGNAL`] that our handler replaced. Never freed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());

pub(super) extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let id = thread_id();
    threads().filter(|thread| thread.id.load(SeqCst) == id).for_each(|thread| {
        thread.handled.fetch_add(1, SeqCst);
    });
    // The signal's only purpose is that system calls return EINTR, which they do because the handler is installed
    // without SA_RESTART.
    chain(id, signal, info, context);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Calls the handler that was installed before ours.
fn chain(id: libc::pid_t, signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    /// Ids of the threads inside a handler that was installed before ours. Such a handler may call ours in turn, and
    /// ours must not call it again. A thread that finds no free entry runs without this protection.
    static CHAINING: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];
    // SAFETY: published before our handler was installed, never freed.
    let Some(before) = (unsafe { BEFORE.load(SeqCst).as_ref() }) else { return };
    // The default action of SIGURG is to ignore it.
    if matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
        || CHAINING.iter().any(|entry| entry.load(SeqCst) == id)
    {
        return;
    }
    let entry = CHAINING.iter().find(|entry| entry.compare_exchange(0, id, SeqCst, SeqCst).is_ok());
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        type Action = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: a handler that was registered with SA_SIGINFO has this type.
        let action = unsafe { std::mem::transmute::<libc::sighandler_t, Action>(before.sa_sigaction) };
        action(signal, info, context);
    } else {
        // SAFETY: a handler that was registered without SA_SIGINFO has this type.
        let action = unsafe { std::mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(before.sa_sigaction) };
        action(signal);
    }
    if let Some(entry) = entry {
        entry.store(0, SeqCst);
    }
}

pub(super) fn ours() -> libc::sighandler_t {
    handle as *const () as libc::sighandler_t
}

/// Reads the action of [`SIGNAL`], and replaces it if `new` is given.
pub(super) fn action(new: Option<&libc::sigaction>) -> Result<libc::sigaction, errno::Error> {
    // SAFETY: all zeros is a valid sigaction.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads `new`, if there is one, and writes `before`.
    match unsafe { libc::sigaction(SIGNAL, new.map_or(null(), std::ptr::from_ref), &raw mut before) } {
        0 => Ok(before),
        _ => Err(errno::Error::last()),
    }
}

/// Ensures that our handler is called for [`SIGNAL`]. Installs it once per process and copy of this code, and again if
/// another part of the program has replaced it without calling it. Takes one system call if the handler is already
/// installed.
pub fn install_handler() -> Result<(), errno::Error> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    if action(None)?.sa_sigaction == ours() {
        return Ok(());
    }
    let _installing = lock(&INSTALLING);
    let before = action(None)?;
    if before.sa_sigaction == ours() || (!BEFORE.load(SeqCst).is_null() && is_called()?) {
        return Ok(());
    }
    let publish = |before| BEFORE.store(Box::leak(Box::new(before)), SeqCst);
    publish(before);
    // SAFETY: all zeros is a valid sigaction.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = ours();
    new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: writes only the set that is passed.
    unsafe { libc::sigemptyset(&raw mut new.sa_mask) };
    let replaced = action(Some(&new))?;
    // Another copy may have installed its handler since `before` was read.
    if replaced.sa_sigaction != before.sa_sigaction && replaced.sa_sigaction != ours() {
        publish(replaced);
    }
    Ok(())
}

/// Ensures that [`SIGNAL`] interrupts system calls, which it does with any handler. Usually takes one system call.
fn ensure_a_handler() -> Result<(), errno::Error> {
    match action(None)?.sa_sigaction {
        // libuv leaves this action when a program removes its last listener of the signal.
        libc::SIG_DFL | libc::SIG_IGN => install_handler(),
        _ => Ok(()),
    }
}

/// Returns whether the installed handlers call ours: sends the signal to this thread and checks whether the handler
/// counted it.
fn is_called() -> Result<bool, errno::Error> {
    let thread = Thread::register();
    let before = thread.handled.load(SeqCst);
    let sent = with_signal_unblocked(|| send(thread_id()));
    let called = thread.handled.load(SeqCst) != before;
    thread.unregister();
    sent.map(|()| called)
}

/// Runs `act` with [`SIGNAL`] unblocked in this thread.
fn with_signal_unblocked<T>(act: impl FnOnce() -> T) -> T {
    let before = unblock();
    let result = act();
    // SAFETY: the kernel reads the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    result
}

/// Unblocks [`SIGNAL`] in this thread and returns the previous mask. Fails only for an invalid first argument.
pub(super) fn unblock() -> libc::sigset_t {
    // SAFETY: all zeros is a valid set; the calls read and write only the sets that they are given.
    unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, &raw mut before);
        before
    }
}

/// Signals a thread of this process. Has no effect if the thread has ended.
fn send(thread: libc::pid_t) -> Result<(), errno::Error> {
    for _ in 0..ATTEMPTS {
        match signal_now(thread) {
            Err(error) if error.errno() == libc::EAGAIN => std::thread::yield_now(),
            Err(error) if error.errno() == libc::ESRCH => return Ok(()),
            sent => return sent,
        }
    }
    Err(errno::Error::new(libc::EAGAIN))
}

/// Signals a thread of this process once. Async-signal-safe.
pub fn signal_now(thread: libc::pid_t) -> Result<(), errno::Error> {
    // SAFETY: takes numbers only. A signal that is handled or ignored cannot harm a thread of this process.
    match unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) } {
        0 => Ok(()),
        _ => Err(errno::Error::last()),
    }
}

/// Kicks a vCPU's thread: interrupts `KVM_RUN` or a blocking system call of a device.
pub struct Kick {
    immediate_exit: ImmediateExit,
    bell: Arc<Bell>,
    /// The thread to signal, while it runs. Holding the lock prevents the id from being reused before the signal is
    /// sent.
    thread: Mutex<Option<&'static Thread>>,
}

impl std::fmt::Debug for Kick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kick").field("bell", &self.bell).finish_non_exhaustive()
    }
}

impl Kick {
    /// Creates the kick of the vCPU whose shared pages contain `immediate_exit`.
    pub fn new(immediate_exit: ImmediateExit) -> Self {
        Self { immediate_exit, bell: Arc::default(), thread: Mutex::new(None) }
    }

    pub(super) fn thread(&self) -> MutexGuard<'_, Option<&'static Thread>> {
        lock(&self.thread)
    }

    /// Called by the vCPU's thread when it starts. Calls [`Kick::aim`], and [`Kick::disarm`] when the guard is dropped.
    pub fn attach(&self) -> Attached<'_> {
        self.aim();
        Attached { kick: self, _here: PhantomData }
    }

    /// Unblocks the signal and makes the calling thread the target of kicks, until [`Kick::disarm`].
    pub fn aim(&self) {
        unblock();
        let before = self.thread().replace(Thread::register());
        if let Some(before) = before {
            before.unregister();
        }
    }

    /// Returns the byte that makes the vCPU leave the guest.
    pub fn immediate_exit(&self) -> ImmediateExit {
        self.immediate_exit.clone()
    }

    /// Returns the bell, for which the vCPU's thread waits outside `KVM_RUN`.
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Takes a ticket for [`Kick::wait`]: see [`Bell::ticket`].
    pub fn ticket(&self) -> Ticket {
        self.bell.ticket()
    }

    /// Waits until a kick after the ticket was taken: see [`Bell::wait`].
    pub fn wait(&self, ticket: Ticket, time: Option<Duration>) {
        self.bell.wait(ticket, time);
    }

    /// Removes the target: later kicks signal no thread.
    pub fn disarm(&self) {
        if let Some(thread) = self.thread().take() {
            thread.unregister();
        }
    }

    /// Makes the vCPU check for requests. The caller must have stored the request.
    ///
    /// # Errors
    /// The signal could not be sent (because of a seccomp filter, for example). The vCPU then sees the request only at
    /// its next exit.
    pub fn kick(&self) -> Result<(), errno::Error> {
        self.immediate_exit.set();
        self.bell.ring();
        self.interrupt()
    }

    /// Sends the signal only. Interrupts `KVM_RUN` if the thread is in it, without making it check for requests.
    ///
    /// # Errors
    /// As [`Kick::kick`].
    pub fn interrupt(&self) -> Result<(), errno::Error> {
        let handled = ensure_a_handler();
        self.thread().map_or(Ok(()), |thread| send(thread.id.load(SeqCst)))?;
        handled
    }

    /// Makes the vCPU leave the guest once, wherever its thread is. Returns true when the thread has handled a signal
    /// since the call, or has ended. A thread that waits for a device or for the machine also handles signals. Returns
    /// false when `limit` has passed or `ended` returns true.
    pub fn kick_and_wait(&self, limit: Duration, ended: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        let handled = || self.thread().map(|thread| thread.handled.load(SeqCst));
        let Some(before) = handled() else { return true };
        let mut signalled = None;
        loop {
            let now = start.elapsed();
            if signalled.is_none_or(|then| now.saturating_sub(then) >= AGAIN) {
                // Send the signal again if sending failed or the handler was replaced.
                let _ = install_handler().and_then(|()| self.kick());
                signalled = Some(now);
            }
            if handled().is_none_or(|handled| handled != before) {
                return true;
            }
            if now >= limit || ended() {
                return false;
            }
            std::thread::yield_now();
        }
    }

    /// Called by the vCPU's thread before it checks for requests.
    pub fn acknowledge(&self) {
        self.immediate_exit.clear();
    }

    /// Called by the vCPU's thread when more requests may be pending: its next `KVM_RUN` or [`Kick::wait`] returns at
    /// once.
    pub fn look_again(&self) {
        self.immediate_exit.set();
        self.bell.ring();
    }

    /// Called by the vCPU's thread: its next KVM_RUN completes pending I/O and returns without entering the guest.
    pub fn arm(&self) {
        self.immediate_exit.set();
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// While this guard exists, kicks go to the thread that created it, which runs the vCPU.
#[derive(Debug)]
pub struct Attached<'a> {
    kick: &'a Kick,
    _here: PhantomData<*const ()>,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.kick.disarm();
    }
}
