//! Tests that replace the process's handler run in a separate process, because the other tests of this process kick,
//! too.

use super::kick::{Kick, SIGNAL, action, handle, install_handler, ours, signal_now, thread_id, threads, unblock};
use super::run_page::RunPage;
use super::second_kick;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

fn page() -> RunPage {
    RunPage::map(-1, 3 * 4096).unwrap()
}

/// Runs the named test in a separate process. Returns true in that process.
fn in_a_separate_process(test: &str) -> bool {
    const CHILD: &str = "KVM_ACCEL_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let name = format!("run::kick_tests::{test}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    false
}

#[test]
fn test_a_signal_is_counted_for_the_thread_that_is_aimed_at() {
    install_handler().unwrap();
    let kick = Kick::new(page().immediate_exit());
    let handled = || kick.thread().map(|thread| thread.handled.load(SeqCst));
    assert_eq!(handled(), None);
    let attached = kick.attach();
    let before = handled().unwrap();
    kick.interrupt().unwrap();
    assert_eq!(handled(), Some(before + 1));
    kick.kick().unwrap();
    assert_eq!(handled(), Some(before + 2));
    assert!(kick.immediate_exit().take());
    drop(attached);
    kick.interrupt().unwrap();
    assert_eq!(handled(), None, "no thread was signalled");
}

#[test]
fn test_an_entry_is_used_again_and_one_thread_may_have_several() {
    install_handler().unwrap();
    let kicks = [(); 3].map(|()| Kick::new(page().immediate_exit()));
    for _ in 0..100 {
        kicks.iter().for_each(Kick::aim);
        kicks.iter().for_each(Kick::disarm);
    }
    // Other tests have entries, too. Without reuse there would be hundreds.
    assert!(threads().count() < 100);
}

#[test]
fn test_kick_and_wait_returns_when_the_thread_has_handled_a_signal_or_has_ended() {
    install_handler().unwrap();
    let kick = Arc::new(Kick::new(page().immediate_exit()));
    let long = Duration::from_secs(3600);
    assert!(kick.kick_and_wait(long, || false), "no thread, no guest");
    let (started, has_started) = channel();
    let (stop, wait) = channel::<()>();
    let thread = {
        let kick = Arc::clone(&kick);
        std::thread::spawn(move || {
            let _attached = kick.attach();
            started.send(()).unwrap();
            let _ = wait.recv();
        })
    };
    has_started.recv().unwrap();
    assert!(kick.kick_and_wait(long, || false));
    drop(stop);
    thread.join().unwrap();
    assert!(kick.kick_and_wait(long, || false));
}

/// Blocks the signal in this thread until [`unblock`] unblocks it.
fn block() {
    // SAFETY: all zeros is a valid set; the calls read and write only the sets that they are given.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

#[test]
fn test_kick_and_wait_of_a_thread_that_handles_no_signal_ends() {
    install_handler().unwrap();
    let kick = Kick::new(page().immediate_exit());
    let _attached = kick.attach();
    block();
    std::thread::scope(|scope| {
        let limited = scope.spawn(|| kick.kick_and_wait(Duration::from_millis(30), || false));
        assert!(!limited.join().unwrap());
        let ended = scope.spawn(|| kick.kick_and_wait(Duration::from_secs(3600), || true));
        assert!(!ended.join().unwrap());
    });
    unblock();
}

#[test]
fn test_a_blocked_signal_is_unblocked_where_a_vcpu_runs() {
    install_handler().unwrap();
    std::thread::spawn(|| {
        block();
        let kick = Kick::new(page().immediate_exit());
        let _attached = kick.attach();
        let before = kick.thread().unwrap().handled.load(SeqCst);
        kick.interrupt().unwrap();
        assert_eq!(kick.thread().unwrap().handled.load(SeqCst), before + 1);
    })
    .join()
    .unwrap();
}

/// A handler of another part of the program. It does not call the handler that it replaced.
static STRANGER: AtomicU64 = AtomicU64::new(0);

extern "C" fn stranger(_: libc::c_int) {
    STRANGER.fetch_add(1, SeqCst);
}

fn install_stranger(handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: all zeros is a valid sigaction.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    (new.sa_sigaction, new.sa_flags) = (handler, flags);
    action(Some(&new)).unwrap();
}

#[test]
fn test_a_handler_that_replaced_ours_is_called_by_ours_after_the_next_look() {
    if !in_a_separate_process("test_a_handler_that_replaced_ours_is_called_by_ours_after_the_next_look") {
        return;
    }
    install_handler().unwrap();
    let kick = Kick::new(page().immediate_exit());
    let _attached = kick.attach();
    let handled = || kick.thread().unwrap().handled.load(SeqCst);
    install_stranger(stranger as *const () as libc::sighandler_t, libc::SA_RESTART);
    let (before, theirs) = (handled(), STRANGER.load(SeqCst));
    kick.interrupt().unwrap();
    assert_eq!((handled(), STRANGER.load(SeqCst)), (before, theirs + 1), "ours is not called");
    install_handler().unwrap();
    let (before, theirs) = (handled(), STRANGER.load(SeqCst));
    kick.interrupt().unwrap();
    assert_eq!((handled(), STRANGER.load(SeqCst)), (before + 1, theirs + 1));
    // libuv does this when a program removes its last listener of the signal.
    install_stranger(libc::SIG_DFL, 0);
    let (before, theirs) = (handled(), STRANGER.load(SeqCst));
    kick.interrupt().unwrap();
    assert_eq!((handled(), STRANGER.load(SeqCst)), (before + 1, theirs));
}

#[test]
fn test_two_copies_of_the_code_share_the_signal() {
    if !in_a_separate_process("test_two_copies_of_the_code_share_the_signal") {
        return;
    }
    let theirs = second_kick::Kick::new(page().immediate_exit());
    let ours_ = Kick::new(page().immediate_exit());
    for _ in 0..3 {
        install_handler().unwrap();
        second_kick::install_handler().unwrap();
        let handler = action(None).unwrap().sa_sigaction;
        // Each copy finds that its handler is called, and leaves the other's handler installed.
        install_handler().unwrap();
        second_kick::install_handler().unwrap();
        assert_eq!(action(None).unwrap().sa_sigaction, handler);
        assert_ne!(handler, ours());
    }
    std::thread::scope(|scope| {
        let (started, has_started) = channel();
        let (stop, wait) = channel::<()>();
        let (stop_theirs, wait_theirs) = channel::<()>();
        let sender = started.clone();
        let (ours_, theirs) = (&ours_, &theirs);
        scope.spawn(move || {
            let _attached = ours_.attach();
            sender.send(()).unwrap();
            let _ = wait.recv();
        });
        scope.spawn(move || {
            let _attached = theirs.attach();
            started.send(()).unwrap();
            let _ = wait_theirs.recv();
        });
        has_started.recv().unwrap();
        has_started.recv().unwrap();
        let long = Duration::from_secs(3600);
        for _ in 0..100 {
            assert!(ours_.kick_and_wait(long, || false));
            assert!(theirs.kick_and_wait(long, || false));
        }
        drop((stop, stop_theirs));
    });
}

/// A handler that calls ours, except while [`install_handler`] checks whether ours is called.
extern "C" fn in_a_circle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    STRANGER.fetch_add(1, SeqCst);
    if CIRCLE.load(SeqCst) != 0 {
        handle(signal, info, context);
    }
}

static CIRCLE: AtomicU64 = AtomicU64::new(0);

#[test]
fn test_handlers_that_call_each_other_end() {
    if !in_a_separate_process("test_handlers_that_call_each_other_end") {
        return;
    }
    install_handler().unwrap();
    install_stranger(in_a_circle as *const () as libc::sighandler_t, libc::SA_SIGINFO);
    install_handler().unwrap();
    assert_eq!(action(None).unwrap().sa_sigaction, ours());
    CIRCLE.store(1, SeqCst);
    let before = STRANGER.load(SeqCst);
    signal_now(thread_id()).unwrap();
    assert_eq!(STRANGER.load(SeqCst), before + 1);
}

mod model {
    //! Models the protocol of the module's documentation with loom: the request, `immediate_exit`, and a signal that
    //! `KVM_RUN` finds pending.
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    struct Modelled {
        request: AtomicBool,
        /// A single byte has one total order of writes.
        immediate_exit: Mutex<bool>,
        /// The kernel protects pending signals with a lock.
        signal: Mutex<bool>,
    }

    impl Modelled {
        fn new() -> Self {
            Self { request: AtomicBool::new(false), immediate_exit: Mutex::new(false), signal: Mutex::new(false) }
        }

        /// Models `Kick::kick` after the request was stored.
        fn kick(&self) {
            self.request.store(true, Ordering::Release);
            *self.immediate_exit.lock().unwrap() = true;
            *self.signal.lock().unwrap() = true;
        }

        /// The handler consumes a pending signal, if there is one.
        fn handle_signal(&self) -> bool {
            std::mem::take(&mut *self.signal.lock().unwrap())
        }

        /// Models `KVM_RUN`: returns at once if a signal is pending or `immediate_exit` is set. Otherwise the guest
        /// runs.
        fn run(&self) -> bool {
            self.handle_signal() || *self.immediate_exit.lock().unwrap()
        }

        /// Models one turn of the vCPU's thread: acknowledge, check, enter. Returns true if it has seen the request or
        /// `KVM_RUN` returns.
        fn turn(&self) -> bool {
            *self.immediate_exit.lock().unwrap() = false;
            if self.request.load(Ordering::Acquire) {
                return true;
            }
            // A signal that arrives before `KVM_RUN` is no longer pending there.
            self.handle_signal();
            self.run()
        }
    }

    #[test]
    fn test_a_kick_is_never_lost() {
        loom::model(|| {
            let vcpu = Arc::new(Modelled::new());
            let kicker = {
                let vcpu = Arc::clone(&vcpu);
                thread::spawn(move || vcpu.kick())
            };
            // If the turn enters the guest, a later signal must end it: the kick must still be to come.
            let seen = vcpu.turn();
            kicker.join().unwrap();
            if !seen {
                assert!(vcpu.run(), "the guest continues without a pending kick");
            }
            assert!(vcpu.turn(), "the request is seen in the turn after");
        });
    }
}
