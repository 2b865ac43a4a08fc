//! Trace events of the accelerator, with the names and arguments of QEMU's events, and a few additional ones.
//!
//! `events.rs` is the table of all events. `trace!(KvmRunExit { cpu_index, reason })` emits one. It costs one relaxed
//! load while no session traces that event, and computes the arguments only for a session that does. Records go to the
//! sessions of the machine for which the thread works ([`Trace::enter`]), as records of the `tracing` crate go to a
//! thread's dispatcher. So any function can emit an event without receiving a machine as an argument.
//!
//! ```
//! use kvm_accel_kvm::trace::{Filter, Trace};
//!
//! let trace = Trace::new(|| { /* wake the thread that calls take() */ });
//! let session = trace.open(Filter::glob("kvm_run_*"), 1024);
//! let _scope = trace.enter(); // what this thread does from here on is this machine's
//! assert!(session.take().records.is_empty());
//! ```

mod events;
mod filter;
mod ioctls;
mod scope;
mod session;

pub use events::{Arg, ArgType, EVENTS, EventInfo, TraceEvent, TraceKind};
pub use filter::Filter;
pub use scope::Scope;
pub use session::{Record, Taken, Trace, TraceSession};

pub use filter::enabled;
pub(crate) use ioctls::{KVM_RUN, called};
pub use scope::{current_vcpu, emit};

/// Emits an event if a session traces it: `trace!(KvmRunExit { cpu_index, reason })`. See the documentation of the module
/// [`trace`](crate::trace).
#[doc(hidden)]
#[macro_export]
macro_rules! emit_trace_event {
    ($event:ident { $($fields:tt)* }) => {
        if $crate::trace::enabled($crate::trace::TraceKind::$event) {
            $crate::trace::emit($crate::trace::TraceEvent::$event { $($fields)* });
        }
    };
}
pub use emit_trace_event as trace;
