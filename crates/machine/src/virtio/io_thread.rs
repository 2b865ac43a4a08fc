//! The thread on which a device works.

use super::{Malformed, Worker};
use kvm_accel::io::borrow_fd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::EventFd;

/// What a transport asks of its device's thread.
enum Command {
    Start(Box<dyn Worker>),
    /// Answered when the worker is gone.
    Stop(mpsc::SyncSender<()>),
    /// Whether the worker works; what happens meanwhile waits.
    Run(bool),
}

/// A device's thread, idle while there is no worker. It ends when this is dropped.
pub struct IoThread {
    /// `None` while it is being dropped.
    commands: Option<Sender<Command>>,
    /// Counts commands.
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    /// Starts a thread. `doorbells` are the queues' in order; `failed` hears why a worker could not go on.
    ///
    /// # Errors
    /// When there is no thread or descriptor to be had.
    pub fn new(
        name: &str,
        doorbells: Vec<Arc<EventFd>>,
        failed: impl Fn(Malformed) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
        let (commands, received) = channel();
        let inside = Inside { wake: Arc::clone(&wake), doorbells, received, failed };
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || inside.run())?;
        Ok(Self { commands: Some(commands), wake, thread: Some(thread) })
    }

    /// Hands over the worker.
    pub fn start(&self, worker: Box<dyn Worker>) {
        self.send(Command::Start(worker));
    }

    /// Returns when there is no worker any more.
    pub fn stop(&self) {
        let (stopped, wait) = sync_channel(1);
        self.send(Command::Stop(stopped));
        // An error: the thread is gone, and the worker with it.
        let _ = wait.recv();
    }

    /// The machine has stopped, or goes on: a worker works only while it runs.
    pub fn run(&self, running: bool) {
        self.send(Command::Run(running));
    }

    fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // An error: the thread has ended by a panic of a worker, which was dropped.
            let _ = commands.send(command);
        }
        ring(&self.wake);
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.commands = None;
        ring(&self.wake);
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has been dropped on its thread.
            let _ = thread.join();
        }
    }
}

/// Adds 1; a counter that is full wakes anyway.
pub fn ring(event: &EventFd) {
    let _ = event.write(1);
}

struct Inside<F> {
    wake: Arc<EventFd>,
    doorbells: Vec<Arc<EventFd>>,
    received: Receiver<Command>,
    failed: F,
}

impl<F: Fn(Malformed)> Inside<F> {
    fn run(self) {
        let mut worker: Option<Box<dyn Worker>> = None;
        let mut running = true;
        let mut ready = Vec::new();
        loop {
            if wait(&self.wake, &self.doorbells, worker.as_deref().filter(|_| running), &mut ready).is_err() {
                // No memory for a list of a few descriptors: nothing to be done about it but to try again.
                std::thread::yield_now();
                continue;
            }
            if ready.first() == Some(&true) {
                // The count does not matter: all commands are taken.
                let _ = self.wake.read();
                loop {
                    match self.received.try_recv() {
                        Ok(Command::Start(new)) => worker = Some(new),
                        Ok(Command::Run(run)) => running = run,
                        Ok(Command::Stop(stopped)) => {
                            worker = None;
                            // Nobody waits any more: then nobody needs to know.
                            let _ = stopped.send(());
                        }
                        Err(mpsc::TryRecvError::Empty) => break,
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
                // What was ready belonged to the worker before.
                continue;
            }
            let Some(active) = worker.as_deref_mut() else { continue };
            if let Err(malformed) = self.serve(active, &ready) {
                worker = None;
                (self.failed)(malformed);
            }
        }
    }

    fn serve(&self, worker: &mut dyn Worker, ready: &[bool]) -> Result<(), Malformed> {
        let (doorbells, sources) = ready.get(1..).unwrap_or_default().split_at(self.doorbells.len());
        for (queue, doorbell) in self.doorbells.iter().enumerate().filter(|(queue, _)| doorbells[*queue]) {
            // How often it rang says nothing about how much there is.
            let _ = doorbell.read();
            worker.notified(queue)?;
            self.again(worker);
        }
        for (source, _) in sources.iter().enumerate().filter(|(_, ready)| **ready) {
            worker.ready(source)?;
            self.again(worker);
        }
        Ok(())
    }

    fn again(&self, worker: &dyn Worker) {
        if let Some(doorbell) = worker.unfinished().and_then(|queue| self.doorbells.get(queue)) {
            ring(doorbell);
        }
    }
}

/// Waits until something happens, and says to what: the wake event, each doorbell, each source of the worker.
fn wait(
    wake: &EventFd,
    doorbells: &[Arc<EventFd>],
    worker: Option<&dyn Worker>,
    ready: &mut Vec<bool>,
) -> Result<(), Errno> {
    let mut fds = Vec::with_capacity(1 + doorbells.len());
    fds.push(PollFd::from_borrowed_fd(borrow_fd(wake), PollFlags::IN));
    if let Some(worker) = worker {
        fds.extend(doorbells.iter().map(|doorbell| PollFd::from_borrowed_fd(borrow_fd(doorbell), PollFlags::IN)));
        worker.sources(&mut fds);
    }
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error),
    }
    ready.clear();
    ready.extend(fds.iter().map(|fd| !fd.revents().is_empty()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Has always more to do.
    struct Endless(Arc<AtomicU32>);

    impl Worker for Endless {
        fn notified(&mut self, _queue: usize) -> Result<(), Malformed> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn unfinished(&self) -> Option<usize> {
            Some(0)
        }
    }

    #[test]
    fn test_a_worker_that_is_never_finished_is_paused_and_stopped() {
        let doorbell = Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
        let thread = IoThread::new("endless", vec![Arc::clone(&doorbell)], |_| {}).unwrap();
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
        thread.run(false);
        // Answered after the pause: whatever a turn has added is there, and no turn comes after it.
        thread.stop();
        let paused = turns.load(Ordering::Relaxed);
        thread.start(Box::new(Endless(Arc::clone(&turns))));
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(turns.load(Ordering::Relaxed), paused);
        thread.run(true);
        more();
        thread.stop();
    }
}
