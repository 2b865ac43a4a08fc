//! Tests `control/` itself, compiled with loom's synchronisation types. Loom tries the orders in which threads can
//! take its lock, receive signals and wake. Only the kick is simulated, because loom models neither signals nor
//! `KVM_RUN`.

/// The code under test.
#[path = "control/mod.rs"]
#[allow(dead_code, reason = "the tests use a part")]
mod control;

/// The synchronisation types of `control/` in these tests.
mod sync {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};
    pub use std::sync::PoisonError;
}

use super::thread;
use crate::event::{Event, StopReason};
use crate::{Error, Request};
use control::{Attention, Command, Control, Epoch};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{JoinHandle, spawn};
use std::time::Duration;
use vmm_sys_util::errno;

/// A vCPU thread's kick, modelled after the kernel and the futex.
#[derive(Default)]
pub struct Kick {
    state: Mutex<Kicked>,
    changed: Condvar,
}

#[derive(Default)]
struct Kicked {
    immediate_exit: bool,
    /// A pending signal.
    signal: bool,
    rings: u32,
}

impl Kick {
    fn change(&self, change: impl FnOnce(&mut Kicked)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn kick(&self) -> Result<(), errno::Error> {
        self.change(|kicked| kicked.immediate_exit = true);
        self.change(|kicked| kicked.rings += 1);
        self.change(|kicked| kicked.signal = true);
        Ok(())
    }

    fn look_again(&self) {
        self.change(|kicked| {
            kicked.immediate_exit = true;
            kicked.rings += 1;
        });
    }

    fn kick_and_wait(&self, _: Duration, _: impl Fn() -> bool) -> bool {
        self.kick().is_ok()
    }

    fn ticket(&self) -> u32 {
        self.state.lock().unwrap().rings
    }

    fn wait(&self, ticket: u32, _: Option<Duration>) {
        let mut kicked = self.state.lock().unwrap();
        while kicked.rings == ticket {
            kicked = self.changed.wait(kicked).unwrap();
        }
    }

    /// `KVM_RUN` of a guest that makes no exit. A lost kick is a deadlock here, which loom reports.
    fn run(&self) {
        let mut kicked = self.state.lock().unwrap();
        while !kicked.signal && !kicked.immediate_exit {
            kicked = self.changed.wait(kicked).unwrap();
        }
        kicked.signal = false;
    }

    fn acknowledge(&self) {
        self.change(|kicked| kicked.immediate_exit = false);
    }
}

/// What a guest does in these tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guest {
    /// Runs without an exit.
    Spins,
    /// Is halted, and its thread waits for the bell.
    Halts,
    /// Requests a reset at once.
    Resets,
}

/// The stops that were emitted.
#[derive(Default)]
struct Stops {
    reasons: Mutex<Vec<StopReason>>,
    changed: Condvar,
}

impl Stops {
    fn push(&self, reason: StopReason) {
        self.reasons.lock().unwrap().push(reason);
        self.changed.notify_all();
    }

    /// Waits for the next stop.
    fn next(&self) -> StopReason {
        let mut reasons = self.reasons.lock().unwrap();
        while reasons.is_empty() {
            reasons = self.changed.wait(reasons).unwrap();
        }
        reasons.remove(0)
    }
}

struct Machine {
    control: Arc<Control>,
    stops: Arc<Stops>,
    threads: Vec<JoinHandle<u32>>,
}

impl Machine {
    fn new(guests: &[Guest]) -> Self {
        let control = Arc::new(Control::new(guests.iter().map(|_| Kick::default()).collect()));
        let stops = Arc::new(Stops::default());
        let threads = guests.iter().enumerate().map(|(index, guest)| {
            let (control, stops, guest) = (Arc::clone(&control), Arc::clone(&stops), *guest);
            spawn(move || vcpu(&control, &stops, index, guest))
        });
        let threads = threads.collect();
        Self { control, stops, threads }
    }

    /// Ends the machine. Returns how often each vCPU was reset.
    fn end(self) -> Vec<u32> {
        self.control.quit();
        let resets = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(self.stops.reasons.lock().unwrap().is_empty(), "each stop was expected");
        resets
    }
}

/// The loop of `thread`, without a vCPU.
fn vcpu(control: &Control, stops: &Stops, index: usize, guest: Guest) -> u32 {
    let (mut epoch, mut resets) = (Epoch::default(), 0);
    loop {
        match control.park(index, &mut epoch, |reason| stops.push(reason)) {
            Command::Quit => return resets,
            Command::Reset => resets += 1,
            Command::Work(work) => drop(work),
            Command::Run if guest == Guest::Resets => {
                let _ = control.request_stop(StopReason::Guest(Request::Reset));
            }
            Command::Run => {
                let kick = control.kick(index).unwrap();
                loop {
                    let ticket = kick.ticket();
                    match control.attend(index) {
                        Attention::Leave => break,
                        Attention::Enter if guest == Guest::Halts => kick.wait(ticket, None),
                        Attention::Enter => {
                            kick.run();
                            kick.acknowledge();
                        }
                        Attention::Nmi | Attention::Inject(_) => {}
                    }
                }
            }
        }
    }
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    // Few preemptions reveal most errors. Without a bound the tests take hours.
    model.preemption_bound = Some(2);
    model.check(test);
}

#[test]
fn test_a_stop_reaches_a_guest_that_spins_and_one_that_is_halted() {
    for guest in [Guest::Spins, Guest::Halts] {
        check(move || {
            let machine = Machine::new(&[guest]);
            machine.control.resume(None);
            assert_eq!(machine.control.request_stop(StopReason::Paused), None);
            assert_eq!(machine.stops.next(), StopReason::Paused);
            assert_eq!(machine.end(), [0]);
        });
    }
}

#[test]
fn test_two_vcpus_stop_once_and_a_guests_request_is_not_lost() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins, Guest::Resets]);
        machine.control.resume(None);
        let reset = StopReason::Guest(Request::Reset);
        // `Some`: the guest's request came first, and the machine had already stopped. `None`: the machine waits for
        // the vCPU that requests a reset, which outranks the pause.
        let event = machine.control.request_stop(StopReason::Paused);
        assert!(event.is_none_or(|event| event == Event::Stopped(StopReason::Paused)));
        assert_eq!(machine.stops.next(), reset);
        assert_eq!(machine.end(), [0, 0]);
    });
}

#[test]
fn test_the_end_reaches_a_guest_that_spins_and_one_that_is_halted() {
    for guest in [Guest::Spins, Guest::Halts] {
        check(move || {
            let machine = Machine::new(&[guest]);
            machine.control.resume(None);
            assert_eq!(machine.end(), [0]);
        });
    }
}

#[test]
fn test_a_step_runs_one_vcpu_and_stops() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins, Guest::Spins]);
        machine.control.resume(Some(1));
        assert_eq!(machine.control.request_stop(StopReason::Paused), None);
        assert_eq!(machine.stops.next(), StopReason::Paused);
        assert_eq!(machine.end(), [0, 0]);
    });
}

#[test]
fn test_every_vcpu_is_reset_once() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins, Guest::Spins]);
        assert_eq!(machine.control.reset(), Ok(()));
        assert_eq!(machine.end(), [1, 1]);
    });
}

#[test]
fn test_a_reset_ends_when_another_thread_ends_the_machine() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins]);
        let resetter = {
            let control = Arc::clone(&machine.control);
            spawn(move || control.reset())
        };
        machine.control.quit();
        let reset = resetter.join().unwrap();
        assert!(reset == Ok(()) || reset == Err(Error::Ended), "{reset:?}");
        machine.end();
    });
}

/// Notifies when it is dropped, like the sender of a work result notifies the waiting caller.
struct Done(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Done {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[test]
fn test_a_wait_for_work_ends_when_another_thread_ends_the_machine() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins]);
        let worker = {
            let control = Arc::clone(&machine.control);
            spawn(move || {
                let done = Arc::new((Mutex::new(false), Condvar::new()));
                let held = Done(Arc::clone(&done));
                control.work(0, Box::new(move |_| drop(held)));
                let mut is_done = done.0.lock().unwrap();
                while !*is_done {
                    is_done = done.1.wait(is_done).unwrap();
                }
            })
        };
        machine.control.quit();
        worker.join().unwrap();
        machine.end();
    });
}

#[test]
fn test_work_and_a_resume_that_follows_leave_the_accounts_right() {
    check(|| {
        let machine = Machine::new(&[Guest::Spins]);
        assert!(machine.control.work(0, Box::new(|_| ())));
        machine.control.resume(None);
        assert_eq!(machine.control.request_stop(StopReason::Paused), None);
        assert_eq!(machine.stops.next(), StopReason::Paused);
        assert_eq!(machine.control.reset(), Ok(()));
        assert_eq!(machine.end(), [1]);
    });
}

#[test]
fn test_an_nmi_and_a_stop_reach_a_halted_vcpu() {
    check(|| {
        let machine = Machine::new(&[Guest::Halts]);
        machine.control.resume(None);
        machine.control.inject_nmi();
        assert_eq!(machine.control.request_stop(StopReason::Paused), None);
        assert_eq!(machine.stops.next(), StopReason::Paused);
        assert_eq!(machine.end(), [0]);
    });
}
