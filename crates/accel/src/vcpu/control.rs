//! How the vCPU threads of a machine are stopped, resumed, reset and ended together.
//!
//! ```text
//! Stopped -- resume --> Running -- request_stop --> Stopping -- last vCPU parks --> Stopped
//!    any of them -- quit --> Quit
//! ```
//!
//! The lock is taken when a vCPU is interrupted or parks, never on the way between two exits. It is held while the sink
//! takes `Stopped` (lock order: control, then clock, then sink).

use super::thread::VcpuThread;
use crate::event::{Event, StopReason};
use crate::exit::NotifyInfo;
use crate::kvm::kick::Kick;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Injected notify exits that a vCPU can have waiting.
const MAX_INJECTED: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Running,
    Stopping,
    Quit,
}

/// What someone else has a parked vCPU thread do.
pub type Work = Box<dyn FnOnce(&mut VcpuThread) + Send>;

/// What a parked vCPU thread does next.
pub enum Command {
    Run,
    Reset,
    Work(Work),
    Quit,
}

/// What an interrupted vCPU thread does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Attention {
    /// Nothing was asked: back into the guest.
    Enter,
    /// Treat this as a notify exit.
    Inject(NotifyInfo),
    /// Take an NMI.
    Nmi,
    /// Park.
    Leave,
}

/// A thread's view of how often the machine was resumed and reset.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    resumes: u64,
    resets: u64,
    /// Outside [`Control::park`], and counted as parked: a thread that has just been spawned, so that nobody waits for it, or is at work.
    counted: bool,
}

impl Default for Epoch {
    fn default() -> Self {
        Self { resumes: 0, resets: 0, counted: true }
    }
}

struct State {
    phase: Phase,
    /// vCPUs that wait in [`Control::park`], or are on their way there for the first time.
    parked: usize,
    /// Why the machine is stopping; told when the last vCPU parks.
    reason: Option<StopReason>,
    epoch: Epoch,
    /// The only vCPU that was resumed: a step.
    only: Option<usize>,
    /// vCPUs that have not yet reset themselves.
    resetting: usize,
    reset_error: Option<Error>,
    injected: Vec<VecDeque<NotifyInfo>>,
    /// For each vCPU.
    work: Vec<VecDeque<Work>>,
    /// vCPUs that have not yet taken an NMI; a second one is the same, as in hardware.
    nmi: Vec<bool>,
    /// vCPUs that are to look at their interrupt controller.
    interrupted: Vec<bool>,
}

/// Shared by the vCPU threads and their owner.
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
    kicks: Vec<Kick>,
}

/// A debug stop outranks a pause, a guest's request both, and a fault all: none may be lost because another came first.
const fn rank(reason: &StopReason) -> u8 {
    match reason {
        StopReason::Paused => 0,
        StopReason::Debug(_) => 1,
        StopReason::Guest(_) => 2,
        StopReason::Fault(_) => 3,
    }
}

impl Control {
    pub fn new(kicks: Vec<Kick>) -> Self {
        let injected = kicks.iter().map(|_| VecDeque::new()).collect();
        let work = kicks.iter().map(|_| VecDeque::new()).collect();
        let state = State {
            phase: Phase::Stopped,
            parked: kicks.len(),
            reason: None,
            epoch: Epoch::default(),
            only: None,
            resetting: 0,
            reset_error: None,
            injected,
            work,
            nmi: vec![false; kicks.len()],
            interrupted: vec![false; kicks.len()],
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), kicks }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kick(&self, index: usize) -> Option<&Kick> {
        self.kicks.get(index)
    }

    fn kick_all(&self) {
        // For those that are held back, outside the guest.
        self.changed.notify_all();
        self.kicks.iter().for_each(Kick::kick);
    }

    /// Returns when each vCPU has been outside the guest since the call.
    pub fn take_out(&self) {
        self.kicks.iter().for_each(Kick::take_out);
    }

    /// Lets all vCPUs run, or `only` one, if all of them are parked.
    pub fn resume(&self, only: Option<usize>) {
        let mut state = self.lock();
        if state.phase == Phase::Stopped {
            state.phase = Phase::Running;
            state.parked = only.map_or(0, |_| self.kicks.len() - 1);
            state.only = only;
            state.epoch.resumes += 1;
            self.changed.notify_all();
        }
    }

    /// Stops all vCPUs. Where they are stopped already there is nothing to wait for, and the event is returned.
    pub fn request_stop(&self, reason: StopReason) -> Option<Event> {
        let mut state = self.lock();
        match state.phase {
            Phase::Running => {
                state.phase = Phase::Stopping;
                state.reason = Some(reason);
                drop(state);
                self.changed.notify_all();
                self.kick_all();
            }
            Phase::Stopping => {
                if state.reason.as_ref().is_none_or(|current| rank(current) < rank(&reason)) {
                    state.reason = Some(reason);
                }
            }
            Phase::Stopped => return Some(Event::Stopped(reason)),
            Phase::Quit => {}
        }
        None
    }

    /// Called by a vCPU thread that is outside the guest. The last one to park calls `stopped` when the machine has.
    pub fn park(&self, index: usize, seen: &mut Epoch, stopped: impl FnOnce(StopReason)) -> Command {
        let mut state = self.lock();
        if seen.counted {
            seen.counted = false;
        } else if seen.resets == state.epoch.resets {
            state.parked += 1;
        } else {
            // Back from a reset: this thread was counted as parked all along.
            seen.resets = state.epoch.resets;
            state.resetting -= 1;
            self.changed.notify_all();
        }
        if state.parked == self.kicks.len() && state.phase != Phase::Running {
            if state.phase == Phase::Stopping {
                state.phase = Phase::Stopped;
            }
            if let Some(reason) = state.reason.take() {
                stopped(reason);
            }
            self.changed.notify_all();
        }
        loop {
            if state.phase == Phase::Quit {
                return Command::Quit;
            }
            if seen.resumes != state.epoch.resumes {
                seen.resumes = state.epoch.resumes;
                // The others of a step were counted as parked all along.
                if state.only.is_none_or(|only| only == index) {
                    return Command::Run;
                }
            }
            if seen.resets != state.epoch.resets {
                return Command::Reset;
            }
            if let Some(work) = state.work.get_mut(index).and_then(VecDeque::pop_front) {
                seen.counted = true;
                return Command::Work(work);
            }
            state = self.wait(state);
        }
    }

    /// Has vCPU `index` do this, on its own thread, if all vCPUs are parked. False when they are not, or there is no such vCPU.
    pub fn work(&self, index: usize, work: Work) -> bool {
        let mut state = self.lock();
        if state.phase != Phase::Stopped {
            return false;
        }
        let Some(waiting) = state.work.get_mut(index) else { return false };
        waiting.push_back(work);
        self.changed.notify_all();
        true
    }

    /// Has every parked vCPU thread put its power-on state back, and waits until all have.
    pub fn reset(&self) -> Result<()> {
        let mut state = self.lock();
        if state.phase != Phase::Stopped {
            return Ok(());
        }
        state.epoch.resets += 1;
        state.resetting = self.kicks.len();
        state.injected.iter_mut().for_each(VecDeque::clear);
        state.nmi.fill(false);
        self.changed.notify_all();
        while state.resetting > 0 {
            state = self.wait(state);
        }
        state.reset_error.take().map_or(Ok(()), Err)
    }

    /// Called by a vCPU thread whose reset failed.
    pub fn reset_failed(&self, error: Error) {
        self.lock().reset_error.get_or_insert(error);
    }

    /// Called by a vCPU thread before it enters the guest and when KVM_RUN was interrupted.
    pub fn attend(&self, index: usize) -> Attention {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return Attention::Leave;
        }
        let attention = if state.nmi.get_mut(index).is_some_and(std::mem::take) {
            Attention::Nmi
        } else if let Some(info) = state.injected.get_mut(index).and_then(VecDeque::pop_front) {
            Attention::Inject(info)
        } else {
            return Attention::Enter;
        };
        // More may wait: look again after this one.
        if let Some(kick) = self.kicks.get(index) {
            kick.arm();
        }
        attention
    }

    /// Leaves a notify exit for vCPU `index`.
    pub fn inject(&self, index: u32, info: NotifyInfo) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        let (Some(kick), mut state) = (self.kicks.get(index), self.lock()) else { return false };
        match state.injected.get_mut(index) {
            Some(waiting) if waiting.len() < MAX_INJECTED => waiting.push_back(info),
            _ => return false,
        }
        drop(state);
        self.changed.notify_all();
        kick.kick();
        true
    }

    /// Keeps vCPU `index` waiting, outside the guest, until something is asked of it.
    pub fn hold_back(&self, index: usize, time: Duration) {
        if time.is_zero() {
            return;
        }
        let nothing_asked = |state: &mut State| {
            let waits = |some: Option<bool>| some.unwrap_or(false);
            state.phase == Phase::Running
                && !waits(state.nmi.get(index).copied())
                && !waits(state.injected.get(index).map(|queue| !queue.is_empty()))
        };
        drop(self.changed.wait_timeout_while(self.lock(), time, nothing_asked).unwrap_or_else(PoisonError::into_inner));
    }

    /// Leaves an NMI for every vCPU; those of a stopped machine take it when it goes on.
    pub fn inject_nmi(&self) {
        self.lock().nmi.fill(true);
        self.changed.notify_all();
        self.kick_all();
    }

    /// Has vCPU `index` look at its interrupt controller.
    pub fn interrupt(&self, index: usize) {
        if let Some(interrupted) = self.lock().interrupted.get_mut(index) {
            *interrupted = true;
        }
        self.changed.notify_all();
        if let Some(kick) = self.kicks.get(index) {
            kick.kick();
        }
    }

    /// Called by the thread of a halted vCPU: waits until something is asked of it.
    pub fn doze(&self, index: usize) {
        let mut state = self.lock();
        let asked = |state: &mut State| {
            state.phase != Phase::Running
                || state.nmi.get(index) != Some(&false)
                || state.injected.get(index).is_none_or(|waiting| !waiting.is_empty())
                || state.interrupted.get_mut(index).is_none_or(std::mem::take)
        };
        while !asked(&mut state) {
            state = self.wait(state);
        }
    }

    /// Ends all threads, wherever they are.
    pub fn quit(&self) {
        self.lock().phase = Phase::Quit;
        self.changed.notify_all();
        self.kick_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use crate::event::EventSink;
    use crate::kvm::run_page::RunPage;
    use std::sync::mpsc::{Sender, channel};
    use std::sync::{Arc, Mutex as StdMutex};

    struct Channel(StdMutex<Sender<Event>>);

    impl EventSink for Channel {
        fn emit(&self, event: Event) {
            self.0.lock().unwrap().send(event).unwrap();
        }
    }

    fn control(vcpus: usize) -> Arc<Control> {
        crate::kvm::kick::install_handler().unwrap();
        let kick = || Kick::new(RunPage::map(-1, 3 * 4096).unwrap().immediate_exit());
        Arc::new(Control::new((0..vcpus).map(|_| kick()).collect()))
    }

    /// A vCPU thread without a vCPU: "runs" until it is told to leave.
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
    fn test_stop_is_told_once_when_all_have_parked() {
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
    fn test_who_is_held_back_goes_on_when_something_is_asked() {
        let control = control(1);
        control.lock().phase = Phase::Running;
        let long = Duration::from_secs(3600);
        for ask in [|c: &Control| c.inject_nmi(), |c: &Control| drop(c.request_stop(StopReason::Paused))] {
            let other = Arc::clone(&control);
            let held = std::thread::spawn(move || other.hold_back(0, long));
            ask(&control);
            held.join().unwrap();
            control.lock().nmi.fill(false);
        }
        control.lock().phase = Phase::Running;
        control.hold_back(0, Duration::from_millis(1));
    }

    #[test]
    fn test_inject_refuses_unknown_vcpu_and_a_full_mailbox() {
        let control = control(1);
        let info = NotifyInfo { context_invalid: false };
        assert!(!control.inject(1, info));
        assert!((0..MAX_INJECTED).all(|_| control.inject(0, info)));
        assert!(!control.inject(0, info));
    }
}
