//! Tests [`Control`] with real threads that run no guest.

use super::control::{Attention, Command, Control, Epoch, MAX_INJECTED, Phase, Unparked};
use crate::event::{Event, EventSink, StopReason};
use crate::{Error, Request};
use kvm_accel_kvm::run::Kick;
use kvm_accel_kvm::run::NotifyInfo;
use kvm_accel_kvm::run::RunPage;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

struct Channel(StdMutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().send(event).unwrap();
    }
}

fn control(vcpus: usize) -> Arc<Control> {
    kvm_accel_kvm::run::kick::install_handler().unwrap();
    let kick = || Kick::new(RunPage::map(-1, 3 * 4096).unwrap().immediate_exit());
    Arc::new(Control::new((0..vcpus).map(|_| kick()).collect()))
}

/// A vCPU thread without a vCPU: it "runs" until it receives a request to leave.
fn pretend(control: Arc<Control>, sink: Arc<Channel>, index: usize) -> std::thread::JoinHandle<u32> {
    std::thread::spawn(move || {
        let (mut epoch, mut resets) = (Epoch::default(), 0);
        loop {
            match control.park(index, &mut epoch, |reason| sink.emit(Event::Stopped(reason))) {
                Command::Quit => return resets,
                Command::Reset => resets += 1,
                Command::Work(_) => unreachable!("no test gives any"),
                Command::Run => {
                    while control.attend(index) != Attention::Leave {
                        std::thread::yield_now();
                    }
                }
            }
        }
    })
}

#[test]
fn test_stop_is_emitted_once_when_all_have_parked() {
    let (sender, events) = channel();
    let (control, sink) = (control(3), Arc::new(Channel(StdMutex::new(sender))));
    let threads: Vec<_> = (0..3).map(|i| pretend(Arc::clone(&control), Arc::clone(&sink), i)).collect();
    for _ in 0..200 {
        control.resume(None);
        assert_eq!(control.request_stop(StopReason::Paused), None);
        assert_eq!(events.recv().unwrap(), Event::Stopped(StopReason::Paused));
    }
    control.reset().unwrap();
    control.quit();
    assert_eq!(threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(events.try_recv().is_err());
}

#[test]
fn test_machine_is_resumed_and_stopped_before_its_threads_have_come() {
    let (sender, events) = channel();
    let (control, sink) = (control(2), Arc::new(Channel(StdMutex::new(sender))));
    control.resume(None);
    assert_eq!(control.request_stop(StopReason::Paused), None);
    let threads: Vec<_> = (0..2).map(|i| pretend(Arc::clone(&control), Arc::clone(&sink), i)).collect();
    assert_eq!(events.recv().unwrap(), Event::Stopped(StopReason::Paused));
    control.quit();
    assert_eq!(threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn test_guest_request_outranks_a_pause_that_came_first() {
    let (sender, events) = channel();
    let (control, sink) = (control(1), Arc::new(Channel(StdMutex::new(sender))));
    control.resume(None);
    control.request_stop(StopReason::Paused);
    control.request_stop(StopReason::Guest(Request::Reset));
    control.request_stop(StopReason::Paused);
    let thread = pretend(Arc::clone(&control), Arc::clone(&sink), 0);
    assert_eq!(events.recv().unwrap(), Event::Stopped(StopReason::Guest(Request::Reset)));
    control.quit();
    thread.join().unwrap();
}

#[test]
fn test_a_delayed_vcpu_continues_on_a_request() {
    let control = control(1);
    control.lock().phase = Phase::Running;
    let long = Duration::from_secs(3600);
    for ask in [|c: &Control| c.inject_nmi(), |c: &Control| drop(c.request_stop(StopReason::Paused))] {
        let other = Arc::clone(&control);
        let held = std::thread::spawn(move || other.hold_back(0, long, || false));
        ask(&control);
        held.join().unwrap();
        control.lock().nmi.fill(false);
    }
    control.lock().phase = Phase::Running;
    control.hold_back(0, Duration::from_millis(1), || false);
    control.hold_back(0, long, || true);
}

#[test]
fn test_inject_refuses_unknown_vcpu_and_a_full_mailbox() {
    let control = control(1);
    let info = NotifyInfo { context_invalid: false };
    assert!(!control.inject(1, info));
    assert!((0..MAX_INJECTED).all(|_| control.inject(0, info)));
    assert!(!control.inject(0, info));
}

/// A thread that runs work or a reset.
fn busy(control: &Arc<Control>) -> (std::thread::JoinHandle<()>, Sender<()>) {
    let (go, wait) = channel::<()>();
    let (started, has_started) = channel();
    let control = Arc::clone(control);
    let thread = std::thread::spawn(move || {
        let mut epoch = Epoch::default();
        loop {
            match control.park(0, &mut epoch, |_| ()) {
                Command::Quit => return,
                _ => {
                    started.send(()).unwrap();
                    let _ = wait.recv();
                }
            }
        }
    });
    // The caller has stored its request before.
    has_started.recv().unwrap();
    (thread, go)
}

#[test]
fn test_reset_ends_when_the_machine_ends_although_a_thread_is_busy() {
    let control = control(1);
    let resetter = {
        let control = Arc::clone(&control);
        std::thread::spawn(move || control.reset())
    };
    let (thread, go) = busy(&control);
    control.quit();
    assert_eq!(resetter.join().unwrap(), Err(Error::Ended));
    drop(go);
    thread.join().unwrap();
    assert_eq!(control.reset(), Err(Error::Ended));
}

#[test]
fn test_reset_of_a_running_machine_is_refused() {
    let control = control(1);
    control.resume(None);
    assert_eq!(control.reset(), Err(Error::Running { vcpu: 0 }));
}

#[test]
fn test_work_that_no_thread_has_begun_is_dropped_when_the_machine_ends() {
    let control = control(1);
    let (sender, result) = channel::<()>();
    assert!(control.work(0, Box::new(move |_| sender.send(()).unwrap())));
    assert!(!control.work(1, Box::new(|_| ())));
    control.quit();
    assert!(result.recv().is_err());
    assert!(!control.work(0, Box::new(|_| ())));
}

#[test]
fn test_kick_and_wait_ends_when_the_machine_ends() {
    let control = control(1);
    let (stop, wait) = channel::<()>();
    let (attached, is_attached) = channel();
    let vcpu = {
        let control = Arc::clone(&control);
        std::thread::spawn(move || {
            let kick = control.kick(0).unwrap().attach();
            attached.send(()).unwrap();
            let _ = wait.recv();
            drop(kick);
        })
    };
    is_attached.recv().unwrap();
    // The thread waits, but it handles signals.
    assert_eq!(control.kick_and_wait(), Ok(()));
    control.quit();
    assert_eq!(control.kick_and_wait(), Ok(()));
    drop(stop);
    vcpu.join().unwrap();
    assert_eq!(control.kick_and_wait(), Ok(()), "no thread, no guest");
}

#[test]
fn test_a_panic_of_the_sink_ends_no_thread() {
    let control = control(1);
    let thread = {
        let control = Arc::clone(&control);
        std::thread::spawn(move || {
            let (mut epoch, mut runs) = (Epoch::default(), 0);
            loop {
                match control.park(0, &mut epoch, |_| std::panic::panic_any("the sink fails")) {
                    Command::Quit => return runs,
                    Command::Run => {
                        runs += 1;
                        while control.attend(0) != Attention::Leave {
                            std::thread::yield_now();
                        }
                    }
                    _ => unreachable!("no test asks for it"),
                }
            }
        })
    };
    for _ in 0..3 {
        control.resume(None);
        control.request_stop(StopReason::Paused);
        while !control.is_stopped() {
            std::thread::yield_now();
        }
    }
    control.quit();
    assert_eq!(thread.join().unwrap(), 3);
}

#[test]
fn test_threads_that_have_not_parked_are_named() {
    let control = control(3);
    assert_eq!(control.unparked(), []);
    control.resume(Some(1));
    assert_eq!(control.unparked(), [Unparked { vcpu: 1, kick_error: None }]);
    control.request_stop(StopReason::Paused);
    let thread = {
        let control = Arc::clone(&control);
        std::thread::spawn(move || {
            let mut epoch = Epoch::default();
            while !matches!(control.park(1, &mut epoch, |_| ()), Command::Quit) {}
        })
    };
    while !control.is_stopped() {
        std::thread::yield_now();
    }
    assert_eq!(control.unparked(), []);
    control.quit();
    thread.join().unwrap();
}
