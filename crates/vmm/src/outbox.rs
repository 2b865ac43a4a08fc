//! From the control thread and the vCPU threads to the caller: a bounded queue that counts what it drops, and a socket that wakes.

use crate::sync::{Mutex, lock};
use crate::{Event, Failure, Reply};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// Notify events, bus locks, warnings and resets by the guest that wait for the caller. Other messages always fit: each follows a command of the
/// caller's, a stop of the machine, or a vCPU that waits.
const CAPACITY: usize = 1024;

/// What the caller receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The answer to the command with this id; 0 is the creation of the machine.
    Reply {
        /// As [`Vmm::send`](crate::Vmm::send) returned it.
        id: u32,
        /// What came of the command.
        result: Result<Reply, Failure>,
    },
    /// Something that happened by itself.
    Event(Event),
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Droppable events among them.
    droppable: usize,
    dropped: u32,
    /// A byte is in the socket that the caller has not answered with [`Outbox::take`].
    woken: bool,
    /// The writing end; closed with the last message, because a caller may keep the queue for long.
    wake: Option<UnixStream>,
}

impl State {
    fn wake(&mut self) {
        if !self.woken {
            // A byte that does not fit is superfluous: the reader has not read the previous one. A closed reader is gone.
            self.woken = self.wake.as_ref().is_some_and(|mut wake| wake.write(&[1]).is_ok());
        }
    }
}

/// The queue of one machine. Adding a message never waits.
pub struct Outbox {
    state: Mutex<State>,
}

impl Outbox {
    /// Creates a queue. The returned end of a socket pair becomes readable when there is something to take.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<(Self, UnixStream)> {
        let (wake, theirs) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let state = State { wake: Some(wake), ..State::default() };
        Ok((Self { state: Mutex::new(state) }, theirs))
    }

    /// Adds an event. A notify event, a bus lock, a warning or a guest's reset that does not fit is counted; the next notify event or
    /// bus lock carries the count.
    pub fn emit(&self, mut event: Event) {
        let mut state = lock(&self.state);
        if event.may_be_dropped() {
            if state.droppable >= CAPACITY {
                state.dropped = state.dropped.saturating_add(1);
                return;
            }
            state.droppable += 1;
        }
        if let Event::Notify { dropped, .. } | Event::BusLock { dropped, .. } = &mut event {
            *dropped = std::mem::take(&mut state.dropped);
        }
        state.messages.push_back(Message::Event(event));
        state.wake();
    }

    /// Answers a command.
    pub(crate) fn reply(&self, id: u32, result: Result<Reply, Failure>) {
        let mut state = lock(&self.state);
        state.messages.push_back(Message::Reply { id, result });
        state.wake();
    }

    /// Wakes the caller without a message, for trace records.
    pub fn wake(&self) {
        lock(&self.state).wake();
    }

    /// Adds the last event of all and closes the socket.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        if state.wake.is_none() {
            return;
        }
        state.messages.push_back(Message::Event(Event::Closed));
        state.wake();
        state.wake = None;
    }

    /// Takes all messages that wait.
    pub fn take(&self) -> VecDeque<Message> {
        let mut state = lock(&self.state);
        state.woken = false;
        state.droppable = 0;
        std::mem::take(&mut state.messages)
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::RunState;
    use kvm_accel::{Warning, WarningCode};
    use std::io::Read;

    fn warning() -> Event {
        Event::Warning(Warning { code: WarningCode::NotifyExit, message: String::new() })
    }

    #[test]
    fn the_socket_holds_one_byte_until_messages_are_taken() {
        let (outbox, mut reader) = Outbox::new().unwrap();
        outbox.emit(warning());
        outbox.emit(warning());
        assert_eq!(outbox.take().len(), 2);
        outbox.reply(1, Ok(Reply::Done));
        let mut bytes = [0; 8];
        assert_eq!(reader.read(&mut bytes).unwrap(), 2);
    }

    #[test]
    fn a_full_queue_counts_what_it_drops_and_still_takes_replies_and_stops() {
        let (outbox, _reader) = Outbox::new().unwrap();
        for _ in 0..CAPACITY + 5 {
            outbox.emit(warning());
        }
        outbox.emit(Event::Resume);
        outbox.emit(Event::Reset { guest: true, state: RunState::Running });
        outbox.emit(Event::Reset { guest: false, state: RunState::Running });
        outbox.reply(3, Ok(Reply::Done));
        let messages = outbox.take();
        assert_eq!(messages.len(), CAPACITY + 3);
        assert_eq!(messages.back(), Some(&Message::Reply { id: 3, result: Ok(Reply::Done) }));
        assert_eq!(lock(&outbox.state).dropped, 6);
    }

    #[test]
    fn closing_adds_one_last_event_and_ends_the_socket() {
        let (outbox, mut reader) = Outbox::new().unwrap();
        outbox.close();
        outbox.close();
        assert_eq!(Vec::from(outbox.take()), [Message::Event(Event::Closed)]);
        let mut bytes = Vec::new();
        assert_eq!(reader.read_to_end(&mut bytes).unwrap(), 1);
    }
}
