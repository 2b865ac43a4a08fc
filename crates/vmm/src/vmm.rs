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

/// Forwards the accelerator's events: a stop of the vCPUs to the control thread, all others to the caller.
#[derive(Clone)]
pub struct Sender {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
}

impl Sender {
    /// Registers `at_end`, which [`Vmm::end`] calls on the thread that ends the machine. `at_end` interrupts a wait of the control thread
    /// for another thread of the machine. It must not block.
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

/// A machine that has been built.
pub struct Built<M> {
    /// The machine; its vCPUs are outside the guest.
    pub machine: M,
    /// What the control thread does when the guest stops by itself.
    pub policy: Policy,
    /// The reply to the creation of the machine.
    pub reply: Reply,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// A machine and its control thread. Dropping the handle ends the machine. [`Event::Closed`] follows when all of its threads have ended.
pub struct Vmm {
    inbox: Arc<Inbox>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Vmm {
    /// Starts the control thread, which builds the machine with `build` and then owns it. [`Outbox::take`] returns the reply with id 0 when
    /// the machine exists or its creation has failed. [`Vmm::end`] cancels the creation.
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
    /// `nested` is true if a vCPU waits for the calling code, such as a device in JavaScript. A nested command is executed at once or
    /// refused, so that the vCPU can continue. The reply to a nested pause or reset is sent when the vCPUs have been asked to stop; an
    /// event reports the outcome.
    pub fn send(&self, command: Command, nested: bool) -> Option<u32> {
        self.inbox.send(command, nested)
    }

    /// Ends the machine in any state. Does not wait: [`Event::Closed`] follows when the machine has ended.
    pub fn end(&self) {
        self.inbox.end();
    }

    /// Ends the machine and waits for at most `patience` until all of its threads have ended. Returns false on a timeout.
    pub fn end_and_wait(&self, patience: Duration) -> bool {
        self.end();
        if !self.inbox.wait_closed(patience) {
            return false;
        }
        self.join();
        true
    }

    /// Joins the control thread, so that its stack is unmapped although the caller keeps the handle. The thread has closed both queues, and
    /// only returns.
    pub(crate) fn join(&self) {
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread has been reported as the machine's exit.
            let _ = thread.join();
        }
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.end();
    }
}

/// Closes both queues when the control thread ends, also after a panic, so that no caller waits for a machine that has ended.
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
    // If `finish` panics, the machine is dropped and the queues are closed.
    let _ = caught(|| control.finish());
}

/// Returns the message of a panic.
#[cfg(not(feature = "shuttle"))]
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
    })
}

/// Under shuttle, a panic is a test failure and is not caught.
#[cfg(feature = "shuttle")]
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    Ok(call())
}
