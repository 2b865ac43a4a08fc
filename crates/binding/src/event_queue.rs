//! From vCPU threads to the event loop: a bounded queue that counts what did not fit, and a socketpair that only wakes.

use crate::event::BindingEvent;
use kvm_accel::{Event, EventSink};
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

/// Notify events and warnings that wait for JavaScript. Events that end or stop a machine always fit: there is at most one
/// for each call that could cause one.
const CAPACITY: usize = 1024;

#[derive(Default)]
struct State {
    events: VecDeque<BindingEvent>,
    dropped: u32,
    /// A byte is on its way that JavaScript has not answered with `take()`.
    woken: bool,
    /// Where the bytes go; closed with the last event, because JavaScript may hold the queue for long.
    wake: Option<UnixStream>,
}

impl State {
    fn wake(&mut self) {
        if !self.woken {
            // A byte that does not fit is not needed: the reader has not read the one before. A closed reader is gone.
            self.woken = self.wake.as_ref().is_some_and(|mut wake| wake.write(&[1]).is_ok());
        }
    }
}

/// The queue of one machine.
pub struct EventQueue {
    state: Mutex<State>,
}

impl EventQueue {
    /// A queue, and the end of the socketpair that JavaScript reads.
    pub fn new() -> std::io::Result<(Self, UnixStream)> {
        let (wake, theirs) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let state = State { wake: Some(wake), ..State::default() };
        Ok((Self { state: Mutex::new(state) }, theirs))
    }

    /// Adds an event; never blocks.
    pub fn push(&self, mut event: BindingEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if event.may_be_dropped() && state.events.len() >= CAPACITY {
            state.dropped = state.dropped.saturating_add(1);
            return;
        }
        if let BindingEvent::Notify { dropped, .. } | BindingEvent::BusLock { dropped, .. } = &mut event {
            *dropped = std::mem::take(&mut state.dropped);
        }
        state.events.push_back(event);
        state.wake();
    }

    /// Has JavaScript call `take()` and look around, without an event.
    pub fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wake();
    }

    /// Adds the last event of all.
    pub fn close(&self) {
        self.push(BindingEvent::Closed);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).wake = None;
    }

    /// All events that wait.
    pub fn take(&self) -> Vec<BindingEvent> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.woken = false;
        state.events.drain(..).collect()
    }
}

impl EventSink for EventQueue {
    fn emit(&self, event: Event) {
        self.push(event.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn warning() -> BindingEvent {
        BindingEvent::Warning { code: String::new(), message: String::new() }
    }

    #[test]
    fn test_queue_wakes_once_until_taken() {
        let (queue, mut reader) = EventQueue::new().unwrap();
        queue.push(warning());
        queue.push(warning());
        assert_eq!(queue.take().len(), 2);
        queue.push(warning());
        let mut bytes = [0; 8];
        assert_eq!(reader.read(&mut bytes).unwrap(), 2);
    }

    #[test]
    fn test_full_queue_counts_drops_and_still_takes_what_stops_a_machine() {
        let (queue, _reader) = EventQueue::new().unwrap();
        for _ in 0..CAPACITY + 5 {
            queue.push(warning());
        }
        queue.push(BindingEvent::Paused);
        let events = queue.take();
        assert_eq!(events.len(), CAPACITY + 1);
        assert!(matches!(events.last(), Some(BindingEvent::Paused)));
        assert_eq!(queue.state.lock().unwrap().dropped, 5);
    }
}
