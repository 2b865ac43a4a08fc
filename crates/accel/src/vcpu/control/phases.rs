//! Resumes, stops, parks and resets the vCPU threads.

use super::super::sync::PoisonError;
use super::{Command, Control, Epoch, Phase, RESET_LIMIT, State, Work};
use crate::event::{Event, StopReason};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

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
}
