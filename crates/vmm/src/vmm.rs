//! The handle of a machine and its control thread.

use crate::control::Control;
use crate::inbox::Inbox;
use crate::sync::{Mutex, lock, thread};
use crate::{Command, Event, Failure, Machine, Outbox, Policy, Reply};
use kvm_accel::cancel::Cancel;
use kvm_accel::trace::Trace;
use kvm_accel::{EventSink, Warning};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Hands the accelerator's events on: a stop of the vCPUs to the control thread, the rest to the caller.
#[derive(Clone)]
pub struct Sender {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
}

impl Sender {
    /// Has the end of the machine call `at_end` on the thread that asks for it, so that no wait of the control thread for another thread of the
    /// machine holds it up. `at_end` does not wait.
    pub fn on_end(&self, at_end: impl Fn() + Send + 'static) {
        self.inbox.on_end(Box::new(at_end));
    }
}

impl EventSink for Sender {
    fn emit(&self, event: kvm_accel::Event) {
        match event {
            kvm_accel::Event::Stopped(reason) => self.inbox.stopped(reason),
            kvm_accel::Event::Notify(exit) => self.outbox.emit(Event::Notify { exit, dropped: 0 }),
            kvm_accel::Event::BusLock(lock) => self.outbox.emit(Event::BusLock { lock, dropped: 0 }),
            kvm_accel::Event::Warning(warning) => self.outbox.emit(Event::Warning(warning)),
        }
    }
}

/// A machine that was built.
pub struct Built<M> {
    /// The machine; its vCPUs are outside the guest.
    pub machine: M,
    /// What follows when the guest stops by itself.
    pub policy: Policy,
    /// The answer to the creation.
    pub reply: Reply,
    /// What the user should know of it.
    pub warnings: Vec<Warning>,
}

/// A machine and its control thread. Dropping the handle ends the machine; [`Event::Closed`] follows when nothing of it is left.
pub struct Vmm {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Vmm {
    /// Starts the control thread, which builds the machine with `build` and owns it from then on. [`Outbox::take`] returns the reply
    /// with id 0 when the machine exists or has failed; [`Vmm::end`] cancels the building.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn spawn<M, B>(trace: Trace, outbox: &Arc<Outbox>, build: B) -> io::Result<Self>
    where
        M: Machine + 'static,
        B: FnOnce(&Sender, &Cancel) -> Result<Built<M>, Failure> + Send + 'static,
    {
        let inbox = Arc::new(Inbox::default());
        let sender = Sender { inbox: Arc::clone(&inbox), outbox: Arc::clone(outbox) };
        let body = move || {
            let _scope = trace.enter();
            let closing = Closing(sender.clone());
            control(&closing.0, build);
        };
        let thread = thread::Builder::new().name("kvm-accel/vmm".into()).spawn(body)?;
        Ok(Self { inbox, thread: Mutex::new(Some(thread)) })
    }

    /// Sends a command and returns the id of its reply; none when the machine has ended.
    ///
    /// `nested`: the caller is code that a vCPU waits for, such as a device outside this process's Rust code. Such a command is executed
    /// at once or refused, so that the vCPU can go on. Pause and reset are answered when the vCPUs have been asked to stop; what comes of them
    /// is an event.
    pub fn send(&self, command: Command, nested: bool) -> Option<u32> {
        self.inbox.send(command, nested)
    }

    /// Ends the machine, whatever it does. Does not wait: [`Event::Closed`] follows when it has ended.
    pub fn end(&self) {
        self.inbox.end();
    }

    /// Ends the machine and waits until no thread of it is left, for at most `patience`; false when that was too short.
    pub fn end_and_wait(&self, patience: Duration) -> bool {
        self.end();
        if !self.inbox.wait_closed(patience) {
            return false;
        }
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread was reported as the machine's exit.
            let _ = thread.join();
        }
        true
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.end();
    }
}

/// Closes both queues at the end of the control thread, also after a panic, so that no caller waits for a machine that is gone.
struct Closing(Sender);

impl Drop for Closing {
    fn drop(&mut self) {
        for envelope in self.0.inbox.close().into_iter().filter(|envelope| !envelope.answered) {
            let failure = crate::RunState::Shutdown.ended(envelope.command.operation());
            self.0.outbox.reply(envelope.id, Err(failure));
        }
        self.0.outbox.close();
    }
}

fn control<M: Machine>(sender: &Sender, build: impl FnOnce(&Sender, &Cancel) -> Result<Built<M>, Failure>) {
    let Sender { inbox, outbox } = sender;
    let built = caught(|| build(sender, inbox.cancel()))
        .unwrap_or_else(|message| Err(Failure::internal("the creation of the machine", &message)));
    let Built { machine, policy, reply, warnings } = match built {
        Ok(built) => built,
        Err(failure) => return outbox.reply(0, Err(failure)),
    };
    outbox.reply(0, Ok(reply));
    warnings.into_iter().for_each(|warning| outbox.emit(Event::Warning(warning)));
    let mut control = Control::new(machine, policy, Arc::clone(inbox), Arc::clone(outbox));
    if let Err(message) = caught(|| control.run()) {
        control.panicked(&message);
    }
    // What is left after a panic here is dropped, and the queues are closed.
    let _ = caught(|| control.finish());
}

/// The message of a panic.
#[cfg(not(feature = "shuttle"))]
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
    })
}

/// Under shuttle a panic is the failure of a test.
#[cfg(feature = "shuttle")]
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    Ok(call())
}
