//! The thread on which a device works.
//!
//! The transport and the thread share a [`State`] under a mutex: what the transport asks for, and what the thread acknowledges. The
//! transport changes the state, sets the worker's [`StopFlag`] where the worker has to return, and then signals an eventfd. Neither
//! side holds the mutex while it waits or while it calls a worker.

use super::{HostError, StopFlag, Worker, WorkerError};
use kvm_accel::io::borrow_fd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// How long a worker's calls that fail with a transient error are repeated: delays of 1, 2, 4, … ms.
const ATTEMPTS: u32 = 10;
/// Errors further apart than this are not counted as repetitions.
const APART: Duration = Duration::from_secs(5);
/// How long the end of a machine waits for a thread. A thread that the kernel holds longer is left to itself; it owns what it uses.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A device's thread did not acknowledge in time: the kernel has not completed an operation of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the I/O thread of the device has not answered in time: an operation is still in flight in the host's kernel")]
pub struct Unanswered;

/// A device's thread. It ends when this is dropped.
pub struct IoThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    flag: StopFlag,
    state: Mutex<State>,
    /// Signalled when the thread has acknowledged something.
    acknowledged: Condvar,
    /// Counts changes that the transport has made to the state.
    wake: EventFd,
}

#[derive(Default)]
struct State {
    /// A worker that the thread has not taken over yet.
    starting: Option<Box<dyn Worker>>,
    /// Acknowledged when false: there is no worker, neither in `starting` nor at work.
    occupied: bool,
    /// The worker is to be dropped.
    stop: bool,
    /// The worker is to finish what is in flight and to begin nothing.
    pause: bool,
    /// Acknowledged: the thread has seen `pause`, nothing is in flight, and nothing begins before `pause` is false.
    quiet: bool,
    /// The thread is to end.
    end: bool,
    /// Acknowledged: the thread has ended.
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the thread.
    fn ask(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        ring(&self.wake);
    }

    /// Waits until the thread has changed the state so that `waiting` is false.
    fn wait(&self, deadline: Instant, waiting: impl Fn(&State) -> bool) -> Result<(), Unanswered> {
        let left = deadline.saturating_duration_since(Instant::now());
        let state = self.acknowledged.wait_timeout_while(self.lock(), left, |state| waiting(state));
        let (_state, timeout) = state.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() { Err(Unanswered) } else { Ok(()) }
    }

    fn acknowledge(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.acknowledged.notify_all();
    }
}

impl IoThread {
    /// Starts a thread. `doorbells` belong to the queues, in order. The thread calls `failed` when a worker cannot continue, after it has
    /// dropped the worker.
    ///
    /// # Errors
    /// When the host has no thread or no descriptor left.
    pub fn new(
        name: &str,
        doorbells: Vec<Arc<EventFd>>,
        failed: impl Fn(WorkerError) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let (flag, state, acknowledged) = (StopFlag::default(), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { flag, state, acknowledged, wake });
        let inside = Inside { shared: Arc::clone(&shared), doorbells, failed, retry: None };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || inside.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The flag that workers of this thread look at.
    pub fn flag(&self) -> &StopFlag {
        &self.shared.flag
    }

    /// Hands over a worker. The worker before has been stopped.
    pub fn start(&self, worker: Box<dyn Worker>) {
        self.shared.ask(|state| {
            (state.starting, state.occupied, state.quiet) = (Some(worker), true, false);
        });
    }

    /// Has the worker dropped, and waits until it is. Requests in flight are cancelled and get no answer.
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline. The worker is then dropped as soon as it returns.
    pub fn stop(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.shared.ask(|state| {
            state.stop = state.occupied;
            self.shared.flag.set_stop(state.stop);
        });
        self.shared.wait(deadline, |state| state.occupied)
    }

    /// Asks the worker to finish what is in flight and to begin nothing until [`IoThread::resume`]. Does not wait.
    pub fn pause(&self) {
        self.shared.ask(|state| {
            state.pause = true;
            self.shared.flag.set_pause(true);
        });
    }

    /// Waits after [`IoThread::pause`] until nothing is in flight. Returns early when the machine resumes or the worker is stopped.
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline. The pause stays requested.
    pub fn wait_until_quiet(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.shared.wait(deadline, |state| state.pause && state.occupied && !state.quiet)
    }

    /// Lets the worker continue.
    pub fn resume(&self) {
        self.shared.ask(|state| {
            (state.pause, state.quiet) = (false, false);
            self.shared.flag.set_pause(false);
        });
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.shared.ask(|state| {
            state.end = true;
            self.shared.flag.set_stop(true);
        });
        let ended = self.shared.wait(Instant::now() + END_WITHIN, |state| !state.ended);
        if let (Ok(()), Some(thread)) = (ended, self.thread.take()) {
            // The thread catches panics, so it has not ended by one.
            let _ = thread.join();
        }
    }
}

/// Adds 1 to an eventfd. A counter that is full wakes its reader as well.
pub fn ring(event: &EventFd) {
    let _ = event.write(1);
}

/// What the thread owns.
struct Inside<F> {
    shared: Arc<Shared>,
    doorbells: Vec<Arc<EventFd>>,
    failed: F,
    /// The worker's last error was transient.
    retry: Option<Retry>,
}

/// A repetition of a worker's calls.
struct Retry {
    /// Errors in a row.
    attempts: u32,
    last: Instant,
    /// The calls are still to be repeated.
    due: bool,
}

impl Retry {
    fn delay(&self) -> Duration {
        Duration::from_millis(1 << self.attempts.saturating_sub(1).min(ATTEMPTS))
    }
}

/// What the thread waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The transport alone.
    Idle,
    /// And what is in flight of a worker that pauses.
    Draining,
    /// And the doorbells and sources of a worker.
    Working,
    /// The transport, or the time to repeat a worker's calls.
    Retrying(Duration),
}

/// Tells the transport that the thread has ended.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.acknowledge(|state| (state.occupied, state.ended) = (false, true));
    }
}

impl<F: Fn(WorkerError)> Inside<F> {
    fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let mut worker: Option<Box<dyn Worker>> = None;
        let mut paused = false;
        let mut ready = Vec::new();
        loop {
            let waiting = match (&worker, &self.retry) {
                (Some(worker), _) if paused => {
                    // A panic here is found by the wait, which makes the same call.
                    let quiet = guarded(|| Ok(worker.in_flight().is_none()));
                    if quiet == Ok(true) { Waiting::Idle } else { Waiting::Draining }
                }
                (Some(_), Some(retry)) if retry.due => Waiting::Retrying(retry.delay()),
                (Some(_), _) => Waiting::Working,
                (None, _) => Waiting::Idle,
            };
            if paused && waiting == Waiting::Idle {
                self.shared.acknowledge(|state| state.quiet = state.pause);
            }
            let waited = guarded(|| Ok(self.wait(waiting, worker.as_deref(), &mut ready)));
            let done = match waited {
                // The kernel has no memory for a list of a few descriptors.
                Ok(Err(_)) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Ok(Ok(())) if ready.first() == Some(&true) => {
                    // The count does not matter: the state has everything.
                    let _ = self.shared.wake.read();
                    if self.obey(&mut worker, &mut paused) {
                        return;
                    }
                    // What else is ready may belong to the worker before.
                    continue;
                }
                Ok(Ok(())) => worker.as_deref_mut().map_or(Ok(()), |worker| self.call(worker, waiting, &ready)),
                Err(error) => Err(error),
            };
            if let Err(error) = done
                && !self.will_retry(&error)
            {
                discard(worker.take());
                let _ = guarded(|| {
                    (self.failed)(error);
                    Ok(())
                });
                self.released();
            }
        }
    }

    /// Does what the transport asks for; whether the thread is to end.
    fn obey(&mut self, worker: &mut Option<Box<dyn Worker>>, paused: &mut bool) -> bool {
        let (starting, stop, end) = {
            let mut state = self.shared.lock();
            *paused = state.pause;
            (state.starting.take(), state.stop, state.end)
        };
        if let Some(starting) = starting {
            discard(worker.replace(starting));
            self.retry = None;
        }
        if stop || end {
            discard(worker.take());
            self.released();
        }
        end
    }

    /// There is no worker any more.
    fn released(&mut self) {
        self.retry = None;
        let flag = &self.shared.flag;
        self.shared.acknowledge(|state| {
            // The transport starts no worker before it has seen this one go.
            (state.occupied, state.stop) = (false, false);
            flag.set_stop(state.end);
        });
    }

    fn call(&mut self, worker: &mut dyn Worker, waiting: Waiting, ready: &[bool]) -> Result<(), WorkerError> {
        match waiting {
            Waiting::Idle => Ok(()),
            Waiting::Draining => {
                guarded(|| worker.drain())?;
                self.continue_later(worker)
            }
            Waiting::Working => self.serve(worker, ready),
            Waiting::Retrying(_) => {
                if let Some(retry) = &mut self.retry {
                    retry.due = false;
                }
                // Whichever call failed: a queue may have nothing new, and sources that are ready stay ready.
                (0..self.doorbells.len()).try_for_each(|queue| {
                    guarded(|| worker.notified(queue))?;
                    self.continue_later(worker)
                })
            }
        }
    }

    fn serve(&self, worker: &mut dyn Worker, ready: &[bool]) -> Result<(), WorkerError> {
        let (doorbells, sources) = ready.get(1..).unwrap_or_default().split_at(self.doorbells.len());
        for (queue, doorbell) in self.doorbells.iter().enumerate().filter(|(queue, _)| doorbells[*queue]) {
            // The doorbell stays readable until after the pause.
            if self.shared.flag.is_set() {
                return Ok(());
            }
            // The count does not say how much is in the queue.
            let _ = doorbell.read();
            guarded(|| worker.notified(queue))?;
            self.continue_later(worker)?;
        }
        for (source, _) in sources.iter().enumerate().filter(|(_, ready)| **ready) {
            if self.shared.flag.is_set() {
                return Ok(());
            }
            guarded(|| worker.ready(source))?;
            self.continue_later(worker)?;
        }
        Ok(())
    }

    /// Has a queue that the worker left unfinished served again, after the transport's commands.
    fn continue_later(&self, worker: &dyn Worker) -> Result<(), WorkerError> {
        if let Some(doorbell) = guarded(|| Ok(worker.unfinished()))?.and_then(|queue| self.doorbells.get(queue)) {
            ring(doorbell);
        }
        Ok(())
    }

    /// Whether the calls are to be repeated after this error.
    fn will_retry(&mut self, error: &WorkerError) -> bool {
        if !matches!(error, WorkerError::Host(error) if error.is_transient()) {
            return false;
        }
        let now = Instant::now();
        let before = self.retry.as_ref().filter(|retry| now.saturating_duration_since(retry.last) < APART);
        let attempts = before.map_or(0, |retry| retry.attempts) + 1;
        self.retry = Some(Retry { attempts, last: now, due: true });
        attempts <= ATTEMPTS
    }

    /// Waits, and notes what is ready: the wake event, then each doorbell and each source of a worker.
    fn wait(&self, waiting: Waiting, worker: Option<&dyn Worker>, ready: &mut Vec<bool>) -> Result<(), Errno> {
        let mut fds = Vec::with_capacity(2 + self.doorbells.len());
        let input = |event| PollFd::from_borrowed_fd(borrow_fd(event), PollFlags::IN);
        fds.push(input(&self.shared.wake));
        let mut timeout = None;
        match (waiting, worker) {
            (Waiting::Working, Some(worker)) => {
                fds.extend(self.doorbells.iter().map(|doorbell| input(&**doorbell)));
                worker.sources(&mut fds);
            }
            (Waiting::Draining, Some(worker)) => fds.extend(worker.in_flight()),
            (Waiting::Retrying(delay), _) => timeout = Timespec::try_from(delay).ok(),
            _ => {}
        }
        ready.clear();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => ready.extend(fds.iter().map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => ready.resize(fds.len(), false),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Calls a worker. A panic is an error of the host: the worker may be inconsistent and is dropped.
pub fn guarded<T>(call: impl FnOnce() -> Result<T, WorkerError>) -> Result<T, WorkerError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(HostError::panicked(&*payload).into()))
}

/// Drops a worker that may panic while it is dropped.
fn discard(worker: Option<Box<dyn Worker>>) {
    let _ = guarded(|| {
        drop(worker);
        Ok(())
    });
}

#[cfg(test)]
mod tests;
