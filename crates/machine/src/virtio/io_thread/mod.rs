//! The I/O thread of a device. `shared` has the requests of the transport and the acknowledgements of the thread.

#[cfg(test)]
mod loom_tests;
mod shared;
#[cfg(test)]
mod tests;

pub use shared::Unanswered;

use super::interface::{HostError, StopFlag, Worker, WorkerError, sync};
use crate::Sources;
use kvm_accel::io::borrow_fd;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use shared::Wake;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

/// How often the calls of a worker are repeated after transient errors, with delays of 1, 2, 4, … ms.
const ATTEMPTS: u32 = 10;
/// Errors further apart than this start a new series of repetitions.
const APART: Duration = Duration::from_secs(5);
/// How long dropping a device waits for its thread if [`IoThread::request_end`] was not called. A thread that the kernel blocks for longer
/// is detached; it owns everything that it uses.
const END_WITHIN: Duration = Duration::from_secs(5);

type Shared = shared::Shared<Box<dyn Worker>, EventFd>;

impl Wake for EventFd {
    fn signal(&self) {
        ring(self);
    }

    fn clear(&self) {
        // The counter's value does not matter. The read fails only if there is no signal.
        let _ = self.read();
    }
}

/// The I/O thread of a device. Dropping this ends the thread.
pub struct IoThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The deadline of the first request to end the thread.
    end_by: OnceLock<Instant>,
}

impl IoThread {
    /// Starts a thread. `doorbells` are the eventfds of the queues, in order. If a worker cannot continue, the thread drops it and then
    /// calls `failed`.
    ///
    /// # Errors
    /// When the host has no thread or file descriptor left.
    pub fn new(
        name: &str,
        doorbells: Vec<Arc<EventFd>>,
        failed: impl Fn(WorkerError) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        let shared = Arc::new(Shared::new(StopFlag::default(), wake));
        let inside = Inside { shared: Arc::clone(&shared), doorbells, failed, retry: None };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || inside.run())?;
        Ok(Self { shared, thread: Some(thread), end_by: OnceLock::new() })
    }

    /// Returns the flag that asks the workers of this thread to return.
    pub fn flag(&self) -> &StopFlag {
        &self.shared.flag
    }

    /// Hands over a worker. The caller has stopped the previous worker.
    pub fn start(&self, worker: Box<dyn Worker>) {
        self.shared.start(worker);
    }

    /// Asks the thread to drop the worker. Requests in flight are cancelled and not answered. Does not wait for the thread.
    pub fn request_stop(&self) {
        discard(self.shared.request_stop());
    }

    /// Drops the worker, and waits until it is dropped.
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline. The thread then drops the worker as soon as its call returns.
    pub fn stop(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.request_stop();
        self.shared.wait_until_stopped(deadline)
    }

    /// Asks the worker to finish the operations in flight and to begin none until [`IoThread::resume`]. Does not wait.
    pub fn pause(&self) {
        self.shared.pause();
    }

    /// Waits after [`IoThread::pause`] until nothing is in flight. Returns early when the machine resumes or the worker is stopped.
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline. The pause stays requested.
    pub fn wait_until_quiet(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.shared.wait_until_quiet(deadline)
    }

    /// Lets the worker continue.
    pub fn resume(&self) {
        self.shared.resume();
    }

    /// Asks the thread to drop its worker and to end. Does not wait. Dropping this object waits until the deadline of the first request.
    pub fn request_end(&self, deadline: Instant) {
        self.end_by.get_or_init(|| deadline);
        self.shared.request_end();
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        let deadline = *self.end_by.get_or_init(|| Instant::now() + END_WITHIN);
        self.shared.request_end();
        if let (Ok(()), Some(thread)) = (self.shared.wait_until_ended(deadline), self.thread.take()) {
            // The thread catches panics of workers, so it has not ended by a panic.
            let _ = thread.join();
        }
    }
}

/// Adds 1 to an eventfd. If the counter is at its maximum, the reader is awake already.
pub fn ring(event: &EventFd) {
    let _ = event.write(1);
}

/// The state that the thread owns.
struct Inside<F> {
    shared: Arc<Shared>,
    doorbells: Vec<Arc<EventFd>>,
    failed: F,
    /// Set after a transient error of the worker.
    retry: Option<Retry>,
}

/// A series of repeated calls.
struct Retry {
    /// Number of errors in the series.
    attempts: u32,
    last: Instant,
    /// The calls have not been repeated yet.
    due: bool,
}

impl Retry {
    fn delay(&self) -> Duration {
        Duration::from_millis(1 << self.attempts.saturating_sub(1).min(ATTEMPTS))
    }
}

/// The events for which the thread waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// The wake event of the transport only.
    Idle,
    /// The wake event, and the worker's operations in flight during a pause.
    Draining,
    /// The wake event, and the doorbells and sources of the worker.
    Working,
    /// The wake event, or the delay before a worker's calls are repeated.
    Retrying(Duration),
}

/// A descriptor for which the thread waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The wake event of the transport.
    Wake,
    /// The doorbell of a queue.
    Doorbell(usize),
    /// A source of the worker.
    Source(usize),
    /// An operation in flight of the worker.
    InFlight,
}

/// Reports the end of the thread to the transport.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl<F: Fn(WorkerError)> Inside<F> {
    fn run(mut self) {
        let _ended = Ended(Arc::clone(&self.shared));
        let mut worker: Option<Box<dyn Worker>> = None;
        let mut paused = false;
        loop {
            let waiting = match (&worker, &self.retry) {
                (Some(worker), _) if paused => {
                    // If this panics, the wait below makes the same call and reports the panic.
                    let quiet = guarded(|| Ok(worker.in_flight().is_none()));
                    if quiet == Ok(true) { Waiting::Idle } else { Waiting::Draining }
                }
                (Some(_), Some(retry)) if retry.due => Waiting::Retrying(retry.delay()),
                (Some(_), _) => Waiting::Working,
                (None, _) => Waiting::Idle,
            };
            if paused && waiting == Waiting::Idle {
                self.shared.quiet();
            }
            let waited = guarded(|| Ok(self.wait(waiting, worker.as_deref())));
            let done = match waited {
                // The kernel has no memory for a list of a few descriptors.
                Ok(Err(_)) => {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Ok(Ok(ready)) if ready.first() == Some(&Event::Wake) => {
                    let obeyed = self.shared.obey(&mut worker, discard);
                    if obeyed.end {
                        return;
                    }
                    if obeyed.replaced {
                        self.retry = None;
                    }
                    paused = obeyed.pause;
                    // The other events may belong to the previous worker.
                    continue;
                }
                Ok(Ok(ready)) => worker.as_deref_mut().map_or(Ok(()), |worker| self.call(worker, waiting, &ready)),
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
                self.retry = None;
                self.shared.released();
            }
        }
    }

    fn call(&mut self, worker: &mut dyn Worker, waiting: Waiting, ready: &[Event]) -> Result<(), WorkerError> {
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
                // It does not matter which call failed. Serving a queue without new buffers is harmless, and ready sources stay ready.
                (0..self.doorbells.len()).try_for_each(|queue| {
                    guarded(|| worker.notified(queue))?;
                    self.continue_later(worker)
                })
            }
        }
    }

    fn serve(&self, worker: &mut dyn Worker, ready: &[Event]) -> Result<(), WorkerError> {
        for event in ready {
            // The doorbells and the sources stay ready until after the pause.
            if self.shared.flag.is_set() {
                return Ok(());
            }
            match *event {
                Event::Doorbell(queue) => {
                    // The counter's value is not the number of chains in the queue.
                    let _ = self.doorbells.get(queue).map(|doorbell| doorbell.read());
                    guarded(|| worker.notified(queue))?;
                }
                Event::Source(source) => guarded(|| worker.ready(source))?,
                Event::Wake | Event::InFlight => continue,
            }
            self.continue_later(worker)?;
        }
        Ok(())
    }

    /// Signals the doorbell of a queue that the worker left unfinished, so that it is served after the transport's commands.
    fn continue_later(&self, worker: &dyn Worker) -> Result<(), WorkerError> {
        if let Some(doorbell) = guarded(|| Ok(worker.unfinished()))?.and_then(|queue| self.doorbells.get(queue)) {
            ring(doorbell);
        }
        Ok(())
    }

    /// Records the error, and returns whether to repeat the calls after it.
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

    /// Waits, and returns what is ready: the wake event first, then the doorbells and the sources of the worker.
    fn wait(&self, waiting: Waiting, worker: Option<&dyn Worker>) -> Result<Vec<Event>, Errno> {
        // The wake event, the doorbells, and usually at most one source of the worker.
        let mut sources = Sources::with_capacity(2 + self.doorbells.len());
        let input = |event| PollFd::from_borrowed_fd(borrow_fd(event), PollFlags::IN);
        sources.add(Event::Wake, input(&self.shared.wake));
        let mut timeout = None;
        match (waiting, worker) {
            (Waiting::Working, Some(worker)) => {
                for (queue, doorbell) in self.doorbells.iter().enumerate() {
                    sources.add(Event::Doorbell(queue), input(doorbell));
                }
                let mut own = Sources::new();
                worker.sources(&mut own);
                sources.append(own, Event::Source);
            }
            (Waiting::Draining, Some(worker)) => sources.add(Event::InFlight, worker.in_flight()),
            (Waiting::Retrying(delay), _) => timeout = Some(delay),
            _ => {}
        }
        sources.wait(timeout)
    }
}

/// Calls a worker. A panic becomes a host error: the worker may be inconsistent, so the thread drops it.
pub fn guarded<T>(call: impl FnOnce() -> Result<T, WorkerError>) -> Result<T, WorkerError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(HostError::panicked(&*payload).into()))
}

/// Drops a worker, and catches a panic of its destructor.
fn discard(worker: Option<Box<dyn Worker>>) {
    let _ = guarded(|| {
        drop(worker);
        Ok(())
    });
}
