//! How the vCPU threads of a machine are stopped, resumed, reset and ended together.
//!
//! ```text
//! Stopped -- resume --> Running -- request_stop --> Stopping -- last vCPU parks --> Stopped
//!    any of them -- quit --> Quit
//! ```
//!
//! The lock is taken when a vCPU is interrupted or parks, never on the way between two exits. It is held while the sink
//! takes `Stopped` (lock order: control, then clock, then sink).
//!
//! A parked thread waits for the condition variable. A thread that waits with its vCPU outside the guest, but not parked (a halted
//! vCPU, a throttled one), waits for the bell of its kick, which everybody rings who asks something of it.
//!
//! The tests compile this file a second time, against loom's synchronisation and a simulated kick (`loom_tests.rs`).

use super::Kick;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::thread::VcpuThread;
use crate::event::{Event, StopReason};
use crate::{Error, Result};
use kvm_accel_kvm::run::NotifyInfo;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Injected notify exits that a vCPU can have waiting.
pub(super) const MAX_INJECTED: usize = 64;
/// How long [`Control::reset`] waits for the vCPU threads. A reset takes a few system calls.
const RESET_LIMIT: Duration = Duration::from_secs(30);
/// How long [`Control::kick_and_wait`] waits for each vCPU.
const KICK_LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Stopped,
    Running,
    Stopping,
    Quit,
}

/// What another thread has a parked vCPU thread do.
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Epoch {
    resumes: u64,
    /// Resets that this thread has begun.
    resets: u64,
}

/// A vCPU thread that has not parked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// The vCPU's index.
    pub vcpu: usize,
    /// Why the last kick failed, if it did.
    pub kick_error: Option<i32>,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// For each vCPU: its thread is in [`Control::park`], on its way there for the first time, or has a [`Command::Reset`] or
    /// [`Command::Work`] from there.
    pub(super) parked: Vec<bool>,
    /// Why the machine is stopping; emitted when the last vCPU parks.
    reason: Option<StopReason>,
    epoch: Epoch,
    /// The only vCPU that was resumed: a step.
    only: Option<usize>,
    /// For each vCPU: it has not yet reset itself.
    resetting: Vec<bool>,
    reset_error: Option<Error>,
    injected: Vec<VecDeque<NotifyInfo>>,
    /// For each vCPU.
    work: Vec<VecDeque<Work>>,
    /// vCPUs that have not yet taken an NMI; a second one is the same, as in hardware.
    pub(super) nmi: Vec<bool>,
    /// For each vCPU: why the last kick failed.
    kick_errors: Vec<Option<i32>>,
}

impl State {
    fn all_parked(&self) -> bool {
        self.parked.iter().all(|parked| *parked)
    }

    fn set(flags: &mut [bool], index: usize, value: bool) {
        if let Some(flag) = flags.get_mut(index) {
            *flag = value;
        }
    }
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
        let vcpus = kicks.len();
        let state = State {
            phase: Phase::Stopped,
            parked: vec![true; vcpus],
            reason: None,
            epoch: Epoch::default(),
            only: None,
            resetting: vec![false; vcpus],
            reset_error: None,
            injected: vec![VecDeque::new(); vcpus],
            work: kicks.iter().map(|_| VecDeque::new()).collect(),
            nmi: vec![false; vcpus],
            kick_errors: vec![None; vcpus],
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), kicks }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kick(&self, index: usize) -> Option<&Kick> {
        self.kicks.get(index)
    }

    /// Kicks a vCPU, for which a request was stored. Not to be called with the lock held.
    fn kick_one(&self, index: usize) {
        let failed = self.kicks.get(index).and_then(|kick| kick.kick().err());
        if let Some(error) = failed
            && let Some(last) = self.lock().kick_errors.get_mut(index)
        {
            *last = Some(error.errno());
        }
    }

    fn kick_all(&self) {
        (0..self.kicks.len()).for_each(|index| self.kick_one(index));
    }

    /// Has each vCPU leave the guest once. When the machine ends meanwhile there is nothing to wait for.
    ///
    /// # Errors
    /// [`Error::Unresponsive`] when a vCPU does not leave the guest in time.
    pub fn kick_and_wait(&self) -> Result<()> {
        for (vcpu, kick) in (0..).zip(&self.kicks) {
            if !kick.kick_and_wait(KICK_LIMIT, || self.has_quit()) && !self.has_quit() {
                return Err(Error::Unresponsive { vcpu, operation: "leave the guest", limit: KICK_LIMIT });
            }
        }
        Ok(())
    }

    /// Lets all vCPUs run, or `only` one, if all of them are parked.
    pub fn resume(&self, only: Option<usize>) {
        let mut state = self.lock();
        if state.phase == Phase::Stopped {
            state.phase = Phase::Running;
            match only {
                Some(only) => State::set(&mut state.parked, only, false),
                None => state.parked.fill(false),
            }
            state.only = only;
            state.epoch.resumes += 1;
            state.kick_errors.fill(None);
            self.changed.notify_all();
        }
    }

    /// Stops all vCPUs. Where they are stopped already there is nothing to wait for, and the event is returned. While they are
    /// stopping, those that have not parked are kicked again.
    pub fn request_stop(&self, reason: StopReason) -> Option<Event> {
        let mut state = self.lock();
        match state.phase {
            Phase::Running => {
                state.phase = Phase::Stopping;
                state.reason = Some(reason);
            }
            Phase::Stopping => {
                if state.reason.as_ref().is_none_or(|current| rank(current) < rank(&reason)) {
                    state.reason = Some(reason);
                }
            }
            Phase::Stopped => return Some(Event::Stopped(reason)),
            Phase::Quit => return None,
        }
        drop(state);
        self.kick_all();
        None
    }

    /// Called by a vCPU thread that is outside the guest. The last one to park calls `stopped` when the machine has.
    pub fn park(&self, index: usize, seen: &mut Epoch, stopped: impl FnOnce(StopReason)) -> Command {
        let mut state = self.lock();
        if seen.resets == state.epoch.resets && state.resetting.get(index) == Some(&true) {
            // Back from a reset.
            State::set(&mut state.resetting, index, false);
            self.changed.notify_all();
        }
        // A thread that has yet to run does not park: it has just been spawned, or is back from a reset or from work.
        let to_run = |state: &State, seen: &Epoch| {
            seen.resumes != state.epoch.resumes && state.only.is_none_or(|only| only == index)
        };
        if !to_run(&state, seen) {
            State::set(&mut state.parked, index, true);
        }
        if state.all_parked() && state.phase != Phase::Running {
            if state.phase == Phase::Stopping {
                state.phase = Phase::Stopped;
            }
            if let Some(reason) = state.reason.take() {
                // The state is consistent: a panic in the sink must not end this thread.
                let _ = catch_unwind(AssertUnwindSafe(|| stopped(reason)));
            }
            self.changed.notify_all();
        }
        loop {
            if state.phase == Phase::Quit {
                return Command::Quit;
            }
            let run = to_run(&state, seen);
            seen.resumes = state.epoch.resumes;
            if run {
                return Command::Run;
            }
            if seen.resets != state.epoch.resets {
                seen.resets = state.epoch.resets;
                return Command::Reset;
            }
            if let Some(work) = state.work.get_mut(index).and_then(VecDeque::pop_front) {
                return Command::Work(work);
            }
            state = self.wait(state);
        }
    }

    /// Has vCPU `index` do this, on its own thread, if all vCPUs are parked. False when they are not, or there is no such vCPU. The
    /// work is dropped when the machine ends before.
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
    ///
    /// # Errors
    /// The first error of [`Control::reset_failed`], [`Error::Running`], [`Error::Ended`] when the machine ends meanwhile, or [`Error::Unresponsive`].
    pub fn reset(&self) -> Result<()> {
        let mut state = self.lock();
        match state.phase {
            Phase::Stopped => {}
            Phase::Quit => return Err(Error::Ended),
            Phase::Running | Phase::Stopping => return Err(Error::Running { vcpu: 0 }),
        }
        state.epoch.resets += 1;
        state.resetting.fill(true);
        state.reset_error = None;
        state.injected.iter_mut().for_each(VecDeque::clear);
        state.nmi.fill(false);
        self.changed.notify_all();
        let start = Instant::now();
        while let Some(vcpu) = (0..).zip(&state.resetting).find_map(|(vcpu, waits)| waits.then_some(vcpu)) {
            if state.phase == Phase::Quit {
                return Err(Error::Ended);
            }
            let Some(left) = RESET_LIMIT.checked_sub(start.elapsed()) else {
                return Err(Error::Unresponsive { vcpu, operation: "reset", limit: RESET_LIMIT });
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
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
            kick.look_again();
        }
        attention
    }

    /// Leaves a notify exit for vCPU `index`.
    pub fn inject(&self, index: u32, info: NotifyInfo) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        match self.lock().injected.get_mut(index) {
            Some(waiting) if waiting.len() < MAX_INJECTED => waiting.push_back(info),
            _ => return false,
        }
        self.kick_one(index);
        true
    }

    /// Keeps vCPU `index` outside the guest for some time, or until something is asked of it or `lost` is true.
    pub fn hold_back(&self, index: usize, time: Duration, lost: impl Fn() -> bool) {
        let Some(kick) = self.kicks.get(index) else { return };
        let start = Instant::now();
        loop {
            let ticket = kick.ticket();
            let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else { return };
            let state = self.lock();
            let asked = state.phase != Phase::Running
                || state.nmi.get(index) == Some(&true)
                || state.injected.get(index).is_some_and(|waiting| !waiting.is_empty());
            drop(state);
            if asked || lost() {
                return;
            }
            kick.wait(ticket, Some(left));
        }
    }

    /// Leaves an NMI for every vCPU; those of a stopped machine take it when it goes on.
    pub fn inject_nmi(&self) {
        self.lock().nmi.fill(true);
        self.kick_all();
    }

    /// Has vCPU `index` look at its interrupt controller, and whether it still sleeps.
    pub fn interrupt(&self, index: usize) {
        self.kick_one(index);
    }

    /// Has every vCPU look at its interrupt controller, and whether it still sleeps.
    pub fn interrupt_all(&self) {
        (0..self.kicks.len()).for_each(|index| self.kick_one(index));
    }

    /// Ends all threads, wherever they are, and every wait of [`Control::reset`], [`Control::kick_and_wait`] and for [`Control::work`].
    pub fn quit(&self) {
        let mut state = self.lock();
        state.phase = Phase::Quit;
        let dropped: Vec<_> = state.work.iter_mut().map(std::mem::take).collect();
        drop(state);
        self.changed.notify_all();
        self.kick_all();
        // Outside the lock: dropping the work ends the wait of its caller.
        drop(dropped);
    }

    /// Whether [`Control::quit`] was called.
    pub fn has_quit(&self) -> bool {
        self.lock().phase == Phase::Quit
    }

    #[cfg(test)]
    /// Whether all vCPUs are outside the guest and stay there.
    pub fn is_stopped(&self) -> bool {
        self.lock().phase == Phase::Stopped
    }

    /// The threads that have not parked, for an error that names them.
    pub fn unparked(&self) -> Vec<Unparked> {
        let state = self.lock();
        let threads = state.parked.iter().zip(&state.kick_errors).enumerate();
        let unparked = threads.filter(|(_, (parked, _))| !**parked);
        unparked.map(|(vcpu, (_, kick_error))| Unparked { vcpu, kick_error: *kick_error }).collect()
    }
}
