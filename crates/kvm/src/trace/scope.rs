//! Associates a thread with the machine for which it works.

use super::events::TraceEvent;
use super::session::Trace;
use std::cell::RefCell;
use std::marker::PhantomData;

#[derive(Clone)]
struct Context {
    trace: Trace,
    vcpu: Option<u32>,
}

thread_local! {
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

/// A guard. While it exists, the events of its thread belong to a machine. Dropped in the thread that created it.
#[derive(Debug)]
#[must_use = "the scope ends when it is dropped"]
pub struct Scope {
    before: Option<Trace>,
    vcpu_before: Option<u32>,
    _not_send: PhantomData<*const ()>,
}

impl Trace {
    /// Sends the events of this thread to this machine's sessions, until the result is dropped.
    pub fn enter(&self) -> Scope {
        self.enter_as(None)
    }

    /// Like [`Trace::enter`], for the thread of a vCPU.
    pub fn enter_vcpu(&self, vcpu: u32) -> Scope {
        self.enter_as(Some(vcpu))
    }

    fn enter_as(&self, vcpu: Option<u32>) -> Scope {
        let before = CONTEXT.replace(Some(Context { trace: self.clone(), vcpu }));
        let vcpu_before = before.as_ref().and_then(|context| context.vcpu);
        Scope { before: before.map(|context| context.trace), vcpu_before, _not_send: PhantomData }
    }

    /// Returns the machine for which this thread works, to pass it to a new thread. Returns one without sessions if the
    /// thread works for none.
    #[must_use]
    pub fn current() -> Self {
        CONTEXT.with_borrow(|context| context.as_ref().map_or_else(Self::default, |context| context.trace.clone()))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CONTEXT.set(self.before.take().map(|trace| Context { trace, vcpu: self.vcpu_before }));
    }
}

/// Returns the vCPU that this thread runs.
pub fn current_vcpu() -> Option<u32> {
    CONTEXT.with_borrow(|context| context.as_ref().and_then(|context| context.vcpu))
}

/// Emits an event to the sessions of this thread's machine. Call it through `trace!`, which first checks whether a
/// session traces the event.
#[cold]
pub fn emit(event: TraceEvent) {
    CONTEXT.with_borrow(|context| {
        if let Some(context) = context {
            context.trace.record(context.vcpu, event);
        }
    });
}
