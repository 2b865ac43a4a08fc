//! Stops, resumes, resets and ends the vCPU threads of a machine together.
//!
//! ```text
//! Stopped -- resume --> Running -- request_stop --> Stopping -- last vCPU parks --> Stopped
//!    any of them -- quit --> Quit
//! ```
//!
//! A thread takes the lock when its vCPU is interrupted or parks, never between two ordinary exits. The thread holds
//! the lock while the sink handles `Stopped` (lock order: control, then clock, then sink).
//!
//! A parked thread waits for the condition variable. A thread that waits outside the guest without being parked (its
//! vCPU is halted or throttled) waits for the bell of its kick. Every thread that stores a request for that vCPU rings
//! the bell.
//!
//! `loom_tests.rs` compiles this file a second time, with loom's synchronisation types and a simulated kick.

use super::Kick;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::thread::VcpuThread;
use crate::event::{Event, StopReason};
use crate::{Error, Result};
use kvm_accel_kvm::run::NotifyInfo;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Maximum number of injected notify exits that can be pending for a vCPU.
pub(super) const MAX_INJECTED: usize = 64;
/// Time limit of [`Control::reset`] for all vCPU threads. A reset takes a few system calls.
const RESET_LIMIT: Duration = Duration::from_secs(30);
/// Time limit of [`Control::kick_and_wait`] for each vCPU.
const KICK_LIMIT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Stopped,
    Running,
    Stopping,
    Quit,
}

/// A closure that another thread submits and a parked vCPU thread runs.
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
    /// No request is pending: enter the guest.
    Enter,
    /// Handle this as a notify exit.
    Inject(NotifyInfo),
    /// Inject an NMI.
    Nmi,
    /// Park.
    Leave,
}

/// Counts the resumes and resets of the machine that a thread has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epoch {
    resumes: u64,
    /// Number of resets that this thread has begun.
    resets: u64,
}

/// A vCPU thread that has not parked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparked {
    /// The vCPU's index.
    pub vcpu: usize,
    /// The errno of the last failed kick, if a kick failed.
    pub kick_error: Option<i32>,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// For each vCPU: true while its thread is in [`Control::park`], before its first call of `park`, or while it runs
    /// a [`Command::Reset`] or [`Command::Work`] that `park` returned.
    pub(super) parked: Vec<bool>,
    /// Why the machine is stopping. The last vCPU that parks emits it.
    reason: Option<StopReason>,
    epoch: Epoch,
    /// The only vCPU to resume, for a single step. `None` resumes all vCPUs.
    only: Option<usize>,
    /// For each vCPU: true from the start of a reset until its thread has reset it.
    resetting: Vec<bool>,
    reset_error: Option<Error>,
    injected: Vec<VecDeque<NotifyInfo>>,
    /// For each vCPU: the work that its thread has not started yet.
    work: Vec<VecDeque<Work>>,
    /// For each vCPU: true while an NMI is pending. A second NMI merges with a pending one, as in hardware.
    pub(super) nmi: Vec<bool>,
    /// For each vCPU: the errno of its last failed kick.
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

/// State that the vCPU threads and their owner share.
pub struct Control {
    state: Mutex<State>,
    changed: Condvar,
    kicks: Vec<Kick>,
}

/// Ranks stop reasons. A debug stop outranks a pause, a guest's request outranks both, and a fault outranks all. The
/// higher rank wins, so that an earlier, lesser reason does not hide it.
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

    /// Kicks a vCPU after the caller has stored a request for it. The caller must not hold the lock.
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

    /// Kicks each vCPU and waits until each has left the guest once. Returns early when the machine ends meanwhile.
    ///
    /// # Errors
    /// [`Error::Unresponsive`] when a vCPU does not leave the guest within the time limit.
    pub fn kick_and_wait(&self) -> Result<()> {
        for (vcpu, kick) in (0..).zip(&self.kicks) {
            if !kick.kick_and_wait(KICK_LIMIT, || self.has_quit()) && !self.has_quit() {
                return Err(Error::Unresponsive { vcpu, operation: "leave the guest", limit: KICK_LIMIT });
            }
        }
        Ok(())
    }

    /// Resumes all vCPUs, or only vCPU `only`, if all of them are parked.
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

    /// Requests that all vCPUs stop. Returns the event if they are already stopped. A repeated call while they are
    /// stopping kicks the vCPUs that have not parked.
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

    /// Parks a vCPU thread that is outside the guest, and returns its next command. The last thread to park calls
    /// `stopped` once the machine has stopped.
    pub fn park(&self, index: usize, seen: &mut Epoch, stopped: impl FnOnce(StopReason)) -> Command {
        let mut state = self.lock();
        if seen.resets == state.epoch.resets && state.resetting.get(index) == Some(&true) {
            // This thread has finished a reset.
            State::set(&mut state.resetting, index, false);
            self.changed.notify_all();
        }
        // A thread that must run does not park: after its spawn, a reset or work.
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

    /// Runs `work` on the thread of vCPU `index`, if all vCPUs are parked. Returns false if they are not, or if `index`
    /// is unknown. Drops the work when the machine ends before the thread runs it.
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

    /// Makes every parked vCPU thread restore its power-on state, and waits until all have.
    ///
    /// # Errors
    /// The first error of [`Control::reset_failed`]; [`Error::Running`]; [`Error::Ended`] when the machine ends
    /// meanwhile; or [`Error::Unresponsive`].
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

    /// Records the error of a reset. Called by the vCPU thread whose reset failed.
    pub fn reset_failed(&self, error: Error) {
        self.lock().reset_error.get_or_insert(error);
    }

    /// Returns the pending request. Called by a vCPU thread before it enters the guest and when `KVM_RUN` was
    /// interrupted.
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
        // More requests may be pending: check again after this one.
        if let Some(kick) = self.kicks.get(index) {
            kick.look_again();
        }
        attention
    }

    /// Queues a notify exit for vCPU `index`.
    pub fn inject(&self, index: u32, info: NotifyInfo) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        match self.lock().injected.get_mut(index) {
            Some(waiting) if waiting.len() < MAX_INJECTED => waiting.push_back(info),
            _ => return false,
        }
        self.kick_one(index);
        true
    }

    /// Delays vCPU `index` outside the guest for `time`. Returns early when a request is pending or `lost` returns
    /// true.
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

    /// Queues an NMI for every vCPU. The vCPUs of a stopped machine receive it when they resume.
    pub fn inject_nmi(&self) {
        self.lock().nmi.fill(true);
        self.kick_all();
    }

    /// Kicks vCPU `index`, so that it checks its interrupt controller and whether the guest still sleeps.
    pub fn interrupt(&self, index: usize) {
        self.kick_one(index);
    }

    /// Kicks every vCPU, so that each checks its interrupt controller and whether the guest still sleeps.
    pub fn interrupt_all(&self) {
        (0..self.kicks.len()).for_each(|index| self.kick_one(index));
    }

    /// Ends all threads in any phase, and every wait in [`Control::reset`], in [`Control::kick_and_wait`] and for
    /// [`Control::work`].
    pub fn quit(&self) {
        let mut state = self.lock();
        state.phase = Phase::Quit;
        let dropped: Vec<_> = state.work.iter_mut().map(std::mem::take).collect();
        drop(state);
        self.changed.notify_all();
        self.kick_all();
        // Outside the lock: dropping the work wakes the caller that waits for it.
        drop(dropped);
    }

    /// Returns whether [`Control::quit`] was called.
    pub fn has_quit(&self) -> bool {
        self.lock().phase == Phase::Quit
    }

    #[cfg(test)]
    /// Returns whether all vCPUs are outside the guest and stay there.
    pub fn is_stopped(&self) -> bool {
        self.lock().phase == Phase::Stopped
    }

    /// Returns the threads that have not parked, for an error message that names them.
    pub fn unparked(&self) -> Vec<Unparked> {
        let state = self.lock();
        let threads = state.parked.iter().zip(&state.kick_errors).enumerate();
        let unparked = threads.filter(|(_, (parked, _))| !**parked);
        unparked.map(|(vcpu, (_, kick_error))| Unparked { vcpu, kick_error: *kick_error }).collect()
    }
}
