#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::virtio::interface::DriverError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// A deadline that only a hang exceeds.
const LONG: Duration = Duration::from_secs(60);

fn later() -> Instant {
    Instant::now() + LONG
}

fn doorbell() -> Arc<EventFd> {
    Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())
}

/// Creates a thread with one doorbell. The receiver gets the errors that it reports.
fn thread(name: &str) -> (IoThread, Arc<EventFd>, Receiver<WorkerError>) {
    let doorbell = doorbell();
    let (sender, errors) = channel();
    let thread = IoThread::new(name, vec![Arc::clone(&doorbell)], move |error| sender.send(error).unwrap()).unwrap();
    (thread, doorbell, errors)
}

/// A worker whose methods are closures.
struct By<N, D>(N, D);

impl<N: FnMut() -> Result<(), WorkerError> + Send, D: Fn() + Send> Worker for By<N, D> {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        (self.0)()
    }

    fn ready(&mut self, _source: usize) -> Result<(), WorkerError> {
        (self.1)();
        Ok(())
    }
}

fn by(notified: impl FnMut() -> Result<(), WorkerError> + Send + 'static) -> Box<dyn Worker> {
    Box::new(By(notified, || {}))
}

/// A worker that is never finished.
struct Endless(Arc<AtomicU32>);

impl Worker for Endless {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn unfinished(&self) -> Option<usize> {
        Some(0)
    }
}

#[test]
fn a_worker_that_is_never_finished_is_paused_and_stopped() {
    let (thread, doorbell, _errors) = thread("endless");
    let turns = Arc::new(AtomicU32::new(0));
    let more = || {
        let before = turns.load(Ordering::Relaxed);
        while turns.load(Ordering::Relaxed) < before + 3 {
            std::thread::yield_now();
        }
    };
    thread.start(Box::new(Endless(Arc::clone(&turns))));
    ring(&doorbell);
    more();
    thread.pause();
    thread.wait_until_quiet(later()).unwrap();
    let paused = turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(turns.load(Ordering::Relaxed), paused);
    thread.resume();
    more();
    thread.stop(later()).unwrap();
    let stopped = turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(turns.load(Ordering::Relaxed), stopped);
}

#[test]
fn a_thread_without_a_worker_is_quiet() {
    let (thread, ..) = thread("idle");
    thread.pause();
    thread.wait_until_quiet(Instant::now()).unwrap();
    thread.stop(Instant::now()).unwrap();
}

/// A worker with an operation in flight until its eventfd is signalled.
struct InFlight {
    done: Arc<EventFd>,
    busy: bool,
    log: std::sync::mpsc::Sender<&'static str>,
}

impl Worker for InFlight {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        self.log.send("begun").unwrap();
        Ok(())
    }

    fn in_flight(&self) -> Option<PollFd<'_>> {
        self.busy.then(|| PollFd::from_borrowed_fd(borrow_fd(&self.done), PollFlags::IN))
    }

    fn drain(&mut self) -> Result<(), WorkerError> {
        self.busy = false;
        self.log.send("completed").unwrap();
        Ok(())
    }
}

#[test]
fn a_pause_is_acknowledged_when_nothing_is_in_flight_and_nothing_begins_until_the_machine_resumes() {
    let (thread, doorbell, _errors) = thread("in-flight");
    let (done, (log, logged)) = (self::doorbell(), channel());
    thread.start(Box::new(InFlight { done: Arc::clone(&done), busy: true, log }));
    thread.pause();
    ring(&doorbell);
    assert_eq!(thread.wait_until_quiet(Instant::now() + Duration::from_millis(20)), Err(Unanswered));
    ring(&done);
    thread.wait_until_quiet(later()).unwrap();
    assert_eq!(logged.try_iter().collect::<Vec<_>>(), ["completed"]);
    thread.resume();
    assert_eq!(logged.recv_timeout(LONG), Ok("begun"));
}

#[test]
fn a_pause_that_is_not_acknowledged_yet_does_not_delay_a_stop() {
    let (thread, _doorbell, _errors) = thread("stopped");
    thread.start(Box::new(InFlight { done: doorbell(), busy: true, log: channel().0 }));
    thread.pause();
    thread.stop(later()).unwrap();
    thread.wait_until_quiet(Instant::now()).unwrap();
}

#[test]
fn pauses_and_resumes_in_any_order_leave_a_worker_that_works() {
    let (thread, doorbell, _errors) = thread("toggled");
    let turns = Arc::new(AtomicU32::new(0));
    thread.start(Box::new(Endless(Arc::clone(&turns))));
    ring(&doorbell);
    for round in 0..1000 {
        thread.pause();
        if round % 3 == 0 {
            thread.wait_until_quiet(later()).unwrap();
            let paused = turns.load(Ordering::Relaxed);
            std::thread::yield_now();
            assert_eq!(turns.load(Ordering::Relaxed), paused);
        }
        thread.resume();
    }
    let before = turns.load(Ordering::Relaxed);
    while turns.load(Ordering::Relaxed) == before {
        std::thread::yield_now();
    }
}

#[test]
fn a_stop_that_is_not_answered_ends_at_its_deadline_and_the_worker_goes_later() {
    let (thread, doorbell, _errors) = thread("stuck");
    let (release, released) = channel::<()>();
    let (began, beginning) = channel();
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    thread.start(by(move || {
        let _inside = &inside;
        began.send(()).unwrap();
        let _ = released.recv();
        Ok(())
    }));
    ring(&doorbell);
    beginning.recv_timeout(LONG).unwrap();
    assert_eq!(thread.stop(Instant::now() + Duration::from_millis(20)), Err(Unanswered));
    assert!(thread.flag().is_set());
    drop(release);
    thread.stop(later()).unwrap();
    assert_eq!((Arc::strong_count(&held), thread.flag().is_set()), (1, false));
}

#[test]
fn a_panic_in_a_worker_is_a_host_error_and_the_thread_serves_the_next_worker() {
    let (thread, doorbell, errors) = thread("panics");
    for _ in 0..3 {
        thread.start(by(|| panic!("a bug of the test")));
        ring(&doorbell);
        let Ok(WorkerError::Host(error)) = errors.recv_timeout(LONG) else { panic!("not a host error") };
        assert!(error.to_string().contains("a bug of the test"), "{error}");
        assert!(!error.is_transient());
        thread.stop(later()).unwrap();
    }
    let (sender, worked) = channel();
    thread.start(by(move || {
        sender.send(()).unwrap();
        Ok(())
    }));
    ring(&doorbell);
    worked.recv_timeout(LONG).unwrap();
}

/// A worker that panics in `in_flight()`, and again when it is dropped.
struct Bomb;

impl Worker for Bomb {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        Ok(())
    }

    fn sources<'a>(&'a self, _sources: &mut Sources<'a, usize>) {
        panic!("sources");
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("drop");
    }
}

#[test]
fn a_panic_outside_of_work_is_a_host_error_as_well() {
    let (thread, _doorbell, errors) = thread("bomb");
    thread.start(Box::new(Bomb));
    let Ok(WorkerError::Host(error)) = errors.recv_timeout(LONG) else { panic!("not a host error") };
    assert!(error.to_string().contains("sources"), "{error}");
    thread.stop(later()).unwrap();
    thread.start(by(|| Ok(())));
    thread.stop(later()).unwrap();
}

fn host_error(errno: i32) -> WorkerError {
    HostError::new("a call of the test failed", &io::Error::from_raw_os_error(errno), "Do nothing.").into()
}

#[test]
fn a_transient_host_error_is_tried_again_until_it_goes() {
    let (thread, doorbell, errors) = thread("again");
    let (sender, worked) = channel();
    let mut failures = 5;
    thread.start(by(move || {
        if failures > 0 {
            failures -= 1;
            return Err(host_error(libc::EAGAIN));
        }
        sender.send(()).unwrap();
        Ok(())
    }));
    ring(&doorbell);
    worked.recv_timeout(LONG).unwrap();
    assert!(errors.try_recv().is_err());
}

#[test]
fn a_persistent_transient_host_error_is_reported_after_a_limited_number_of_attempts() {
    let (thread, doorbell, errors) = thread("stays");
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    thread.start(by(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(host_error(libc::ENOMEM))
    }));
    ring(&doorbell);
    assert_eq!(errors.recv_timeout(LONG), Ok(host_error(libc::ENOMEM)));
    assert_eq!(attempts.load(Ordering::Relaxed), ATTEMPTS + 1);
    thread.stop(later()).unwrap();
}

#[test]
fn a_stop_does_not_wait_for_attempts() {
    let (thread, doorbell, errors) = thread("attempts");
    let tried = Arc::new(AtomicBool::new(false));
    let counted = Arc::clone(&tried);
    thread.start(by(move || {
        counted.store(true, Ordering::Relaxed);
        Err(host_error(libc::EAGAIN))
    }));
    ring(&doorbell);
    while !tried.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    thread.stop(later()).unwrap();
    drop(thread);
    assert!(errors.recv().is_err(), "nothing was reported");
}

#[test]
fn other_errors_are_reported_at_once() {
    for error in [host_error(libc::EIO), WorkerError::Driver(DriverError("a bad ring".into()))] {
        let (thread, doorbell, errors) = thread("at once");
        let given = error.clone();
        let mut calls = 0;
        thread.start(by(move || {
            calls += 1;
            assert_eq!(calls, 1);
            Err(given.clone())
        }));
        ring(&doorbell);
        assert_eq!(errors.recv_timeout(LONG), Ok(error));
        ring(&doorbell);
    }
}
