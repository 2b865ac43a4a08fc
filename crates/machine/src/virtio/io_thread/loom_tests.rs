//! Compiles `shared.rs` and `stop_flag.rs` with loom's synchronisation types. loom explores the interleavings of a transport, a second
//! thread of the host and the device's thread: taking the lock, signalling, waiting and waking. A lost wake-up is a deadlock, which loom
//! reports. Only the eventfd and the worker are simulated.
#![allow(clippy::unwrap_used)]

#[path = "shared.rs"]
mod shared;
#[path = "../interface/stop_flag.rs"]
mod stop_flag;

/// The synchronisation types of the code under test.
mod sync {
    pub use loom::sync::atomic::{AtomicU8, Ordering};
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub use std::sync::PoisonError;
}

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{JoinHandle, spawn};
use shared::Wake;
use std::time::{Duration, Instant};
use stop_flag::StopFlag;

/// An eventfd: a counter, and a wait until it is not 0.
#[derive(Default)]
struct Event {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Event {
    fn wait(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.changed.wait(count).unwrap();
        }
    }

    fn is_signalled(&self) -> bool {
        *self.count.lock().unwrap() != 0
    }
}

impl Wake for Event {
    fn signal(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn clear(&self) {
        *self.count.lock().unwrap() = 0;
    }
}

/// The behaviour of a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Waits for its driver.
    Waits,
    /// Works until the flag asks it to return.
    Endless,
    /// Fails at once.
    Fails,
}

/// A worker, which counts the live workers.
struct Worker {
    work: Work,
    alive: Arc<Mutex<u32>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        *self.alive.lock().unwrap() -= 1;
    }
}

type Shared = shared::Shared<Worker, Event>;

struct Device {
    shared: Arc<Shared>,
    alive: Arc<Mutex<u32>>,
    thread: JoinHandle<()>,
}

/// A deadline that never passes: loom's waits do not time out.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

impl Device {
    fn new() -> Self {
        let shared = Arc::new(Shared::new(StopFlag::default(), Event::default()));
        let thread = {
            let shared = Arc::clone(&shared);
            spawn(move || thread(&shared))
        };
        Self { shared, alive: Arc::default(), thread }
    }

    fn start(&self, work: Work) {
        *self.alive.lock().unwrap() += 1;
        self.shared.start(Worker { work, alive: Arc::clone(&self.alive) });
    }

    fn alive(&self) -> u32 {
        *self.alive.lock().unwrap()
    }

    /// Stops the worker, and checks that none is left. The next worker may start.
    fn stop(&self) {
        drop(self.shared.request_stop());
        self.shared.wait_until_stopped(later()).unwrap();
        assert_eq!(self.alive(), 0);
    }

    fn end(self) {
        self.shared.request_end();
        self.shared.wait_until_ended(later()).unwrap();
        self.thread.join().unwrap();
        assert_eq!(*self.alive.lock().unwrap(), 0);
    }
}

/// The loop of `io_thread/mod.rs`, without doorbells and host errors.
fn thread(shared: &Shared) {
    let (mut worker, mut paused) = (None::<Worker>, false);
    loop {
        if paused {
            shared.quiet();
        }
        let work = worker.as_ref().map(|worker| worker.work).filter(|_| !paused);
        if work.is_none_or(|work| work == Work::Waits) {
            shared.wake.wait();
        }
        if shared.wake.is_signalled() {
            let obeyed = shared.obey(&mut worker, drop);
            if obeyed.end {
                return shared.ended();
            }
            paused = obeyed.pause;
            continue;
        }
        match work {
            Some(Work::Fails) => {
                worker = None;
                shared.released();
            }
            Some(Work::Endless) => {
                // If the flag did not interrupt the worker, the worker would not return, which loom reports.
                while !shared.flag.is_set() {
                    loom::thread::yield_now();
                }
                // The flag is set before the signal.
                shared.wake.wait();
            }
            Some(Work::Waits) | None => {}
        }
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    // Few preemptions find most errors. Without a bound, the tests take hours.
    model.preemption_bound = Some(2);
    model.check(test);
}

#[test]
fn a_stop_finds_a_worker_at_any_point_of_its_life_and_the_next_worker_is_not_asked_to_return() {
    for work in [Work::Waits, Work::Endless, Work::Fails] {
        check(move || {
            let device = Device::new();
            device.start(work);
            device.stop();
            assert!(!device.shared.flag.is_set());
            device.start(Work::Waits);
            device.stop();
            assert!(!device.shared.flag.is_set());
            device.end();
        });
    }
}

#[test]
fn a_device_ends_with_a_worker_at_any_point_of_its_life() {
    for work in [Work::Waits, Work::Endless, Work::Fails] {
        check(move || {
            let device = Device::new();
            device.start(work);
            device.end();
        });
    }
}

#[test]
fn a_pause_is_acknowledged_and_a_worker_that_continues_is_paused_again() {
    for work in [Work::Waits, Work::Endless] {
        check(move || {
            let device = Device::new();
            device.start(work);
            device.shared.pause();
            device.shared.wait_until_quiet(later()).unwrap();
            device.shared.resume();
            assert!(!device.shared.flag.is_set());
            device.shared.pause();
            device.shared.wait_until_quiet(later()).unwrap();
            device.end();
        });
    }
}

#[test]
fn a_pause_and_a_stop_by_two_threads_are_both_acknowledged() {
    for work in [Work::Endless, Work::Fails] {
        check(move || {
            let device = Device::new();
            device.start(work);
            let pauses = {
                let shared = Arc::clone(&device.shared);
                spawn(move || {
                    shared.pause();
                    shared.wait_until_quiet(later()).unwrap();
                })
            };
            device.stop();
            pauses.join().unwrap();
            device.end();
        });
    }
}

#[test]
fn a_wait_for_a_pause_ends_when_another_thread_resumes_the_worker() {
    check(|| {
        let device = Device::new();
        device.start(Work::Waits);
        device.shared.pause();
        let waits = {
            let shared = Arc::clone(&device.shared);
            spawn(move || shared.wait_until_quiet(later()).unwrap())
        };
        device.shared.resume();
        waits.join().unwrap();
        device.end();
    });
}
