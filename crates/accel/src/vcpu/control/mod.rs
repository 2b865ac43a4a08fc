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
//! `loom_tests.rs` compiles this folder a second time, with loom's synchronisation types and a simulated kick.

mod phases;
mod requests;

use super::Kick;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::thread::VcpuThread;
use crate::event::StopReason;
use crate::{Error, Result};
use kvm_accel_kvm::run::NotifyInfo;
use std::collections::VecDeque;
use std::time::Duration;

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
