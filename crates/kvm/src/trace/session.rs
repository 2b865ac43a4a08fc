//! Sessions: bounded queues of records that count the records they drop.

use super::events::TraceEvent;
use super::filter::{Enabled, Filter};
use crate::lock;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

/// An event that occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// The vCPU whose thread emitted it; `None` for any other thread.
    pub vcpu: Option<u32>,
    /// Number of records that were dropped just before this one because the queue was full.
    pub dropped: u64,
    /// The event.
    pub event: TraceEvent,
}

/// The queued records of a session.
#[derive(Debug, Default)]
pub struct Taken {
    /// The records, in order of their times.
    pub records: Vec<Record>,
    /// Number of records dropped since the session was opened.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    /// Number of records dropped since the last queued one.
    dropped: u64,
    dropped_ever: u64,
}

#[derive(Debug)]
struct Buffer {
    enabled: Enabled,
    capacity: usize,
    state: Mutex<State>,
}

impl Buffer {
    /// Appends an event. Returns true if the caller must wake the reader, because the queue was empty before.
    fn push(&self, vcpu: Option<u32>, event: &TraceEvent) -> bool {
        let mut state = lock(&self.state);
        if state.records.len() >= self.capacity {
            state.dropped += 1;
            state.dropped_ever += 1;
            return false;
        }
        let dropped = std::mem::take(&mut state.dropped);
        // The time is read under the lock, so that times ascend.
        state.records.push_back(Record { time: now(), vcpu, dropped, event: event.clone() });
        state.records.len() == 1
    }
}

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

struct Inner {
    sessions: Mutex<Vec<Weak<Buffer>>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The sessions to which a machine's threads emit events. Cloning is cheap. All clones share the sessions.
#[derive(Clone)]
pub struct Trace(Arc<Inner>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("sessions", &lock(&self.0.sessions).len()).finish_non_exhaustive()
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl Trace {
    /// Creates a trace without sessions. The machine's threads call `wake` when a session's empty queue receives a
    /// record, so `wake` must neither block nor trace.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { sessions: Mutex::default(), wake: Box::new(wake) }))
    }

    /// Starts to record the events of `filter`. At most `capacity` records wait for [`TraceSession::take`].
    #[must_use]
    pub fn open(&self, filter: Filter, capacity: usize) -> TraceSession {
        let buffer = Arc::new(Buffer { enabled: Enabled::new(filter), capacity, state: Mutex::default() });
        lock(&self.0.sessions).push(Arc::downgrade(&buffer));
        TraceSession { trace: self.clone(), buffer }
    }

    /// Records an event. Called where the event occurs. Holds locks only to append.
    pub(super) fn record(&self, vcpu: Option<u32>, event: TraceEvent) {
        let kind = event.kind();
        let mut wake = false;
        for session in lock(&self.0.sessions).iter().filter_map(Weak::upgrade) {
            if session.enabled.filter().contains(kind) {
                wake |= session.push(vcpu, &event);
            }
        }
        if wake {
            (self.0.wake)();
        }
    }
}

/// The records of one reader. Dropping it ends its session.
#[derive(Debug)]
pub struct TraceSession {
    trace: Trace,
    buffer: Arc<Buffer>,
}

impl TraceSession {
    /// Takes all queued records.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut state = lock(&self.buffer.state);
        let records = std::mem::take(&mut state.records);
        Taken { dropped: state.dropped_ever, records: records.into() }
    }
}

impl Drop for TraceSession {
    fn drop(&mut self) {
        lock(&self.trace.0.sessions).retain(|session| !std::ptr::eq(session.as_ptr(), Arc::as_ptr(&self.buffer)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TraceEvent, enabled, trace};
    use super::*;
    use crate::trace::TraceKind;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn exit(reason: u32) {
        trace!(KvmRunExit { cpu_index: 0, reason });
    }

    #[test]
    fn test_records_go_to_the_sessions_that_want_them_in_order_of_time() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let trace = Trace::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let exits = trace.open(Filter::glob("kvm_run_exit"), 10);
        let other = trace.open(Filter::glob("kvm_notify"), 10);
        let scope = trace.enter_vcpu(3);
        exit(2);
        exit(6);
        drop(scope);
        exit(7);
        let records = exits.take().records;
        assert_eq!(
            records.iter().map(|r| (r.vcpu, &r.event)).collect::<Vec<_>>(),
            [
                (Some(3), &TraceEvent::KvmRunExit { cpu_index: 0, reason: 2 }),
                (Some(3), &TraceEvent::KvmRunExit { cpu_index: 0, reason: 6 }),
            ]
        );
        assert!(records[0].time <= records[1].time);
        assert!(other.take().records.is_empty());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn test_dropped_records_are_counted_in_the_next_record() {
        let trace = Trace::default();
        let session = trace.open(Filter::glob("kvm_run_exit"), 2);
        let _scope = trace.enter();
        (0..5).for_each(exit);
        let taken = session.take();
        assert_eq!((taken.records.len(), taken.dropped), (2, 3));
        exit(9);
        let taken = session.take();
        assert_eq!((taken.records[0].dropped, taken.dropped), (3, 3));
    }

    #[test]
    fn test_arguments_of_an_event_without_a_session_are_not_computed() {
        let trace = Trace::default();
        let _scope = trace.enter();
        let compute = || -> u32 { panic!("computed") };
        trace!(KvmInternalError { cpu_index: 0, suberror: compute() });
        let session = trace.open(Filter::glob("kvm_internal_error"), 1);
        assert!(enabled(TraceKind::KvmInternalError));
        drop(session);
        assert!(!enabled(TraceKind::KvmInternalError));
    }

    #[test]
    fn test_a_machine_sees_only_its_own() {
        let [mine, theirs] = [Trace::default(), Trace::default()];
        let sessions = [&mine, &theirs].map(|trace| trace.open(Filter::glob("kvm_run_exit"), 8));
        let outer = mine.enter();
        {
            let _inner = theirs.enter();
            exit(1);
        }
        exit(2);
        let current = Trace::current();
        std::thread::spawn(move || {
            let _scope = current.enter_vcpu(1);
            exit(3);
        })
        .join()
        .unwrap();
        drop(outer);
        assert_eq!(sessions.each_ref().map(|session| session.take().records.len()), [2, 1]);
    }
}
