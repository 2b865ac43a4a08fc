//! The queue of messages from the control thread and the vCPU threads to the caller. It is bounded and counts dropped events. A socket
//! wakes the caller.

use crate::sync::{Mutex, lock};
use crate::{Event, Failure, Reply};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;

/// The most notify events, bus locks, warnings and guest resets that wait for the caller, before [`Outbox::limit`]. Other messages always
/// fit, because each follows a command of the caller, a stop of the machine, or an access for which a vCPU waits.
const CAPACITY: usize = 1024;

/// A message to the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The answer to the command with this id; 0 is the creation of the machine.
    Reply {
        /// The id that [`Vmm::send`](crate::Vmm::send) returned.
        id: u32,
        /// The result of the command.
        result: Result<Reply, Failure>,
    },
    /// An event that no command asked for.
    Event(Event),
}

struct State {
    messages: VecDeque<Message>,
    /// The most messages that may be dropped and wait.
    capacity: usize,
    /// Number of messages that may be dropped.
    droppable: usize,
    dropped: u32,
    /// The socket holds a byte, and the caller has not called [`Outbox::take`] since.
    woken: bool,
    /// The writing end of the socket. It is closed with the last message, because a caller may keep the queue for a long time.
    wake: Option<UnixStream>,
}

impl State {
    fn wake(&mut self) {
        if !self.woken {
            // If the socket is full, its reader has a byte to read already. If the reader has closed its end, there is no caller to wake.
            self.woken = self.wake.as_ref().is_some_and(|mut wake| wake.write(&[1]).is_ok());
        }
    }
}

/// The outbox of one machine. Adding a message never blocks.
pub struct Outbox {
    state: Mutex<State>,
}

impl Outbox {
    /// Creates a queue. The returned end of a socket pair becomes readable when the queue has a message.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new() -> io::Result<(Self, UnixStream)> {
        let (wake, theirs) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let state = State {
            messages: VecDeque::new(),
            capacity: CAPACITY,
            droppable: 0,
            dropped: 0,
            woken: false,
            wake: Some(wake),
        };
        Ok((Self { state: Mutex::new(state) }, theirs))
    }

    /// Limits the notify events, bus locks, warnings and guest resets that wait for the caller.
    pub fn limit(&self, capacity: usize) {
        lock(&self.state).capacity = capacity;
    }

    /// Adds an event. If the queue is full, a notify event, a bus lock, a warning or a guest reset is dropped and counted. The next notify
    /// event or bus lock carries the count.
    pub fn emit(&self, mut event: Event) {
        let mut state = lock(&self.state);
        if event.may_be_dropped() {
            if state.droppable >= state.capacity {
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

    /// Adds the reply to a command.
    pub(crate) fn reply(&self, id: u32, result: Result<Reply, Failure>) {
        let mut state = lock(&self.state);
        state.messages.push_back(Message::Reply { id, result });
        state.wake();
    }

    /// Wakes the caller without a message: trace records are available.
    pub fn wake(&self) {
        lock(&self.state).wake();
    }

    /// Adds [`Event::Closed`], the last message, and closes the socket.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        if state.wake.is_none() {
            return;
        }
        state.messages.push_back(Message::Event(Event::Closed));
        state.wake();
        state.wake = None;
    }

    /// Takes all messages out of the queue.
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
        const CAPACITY: usize = 20;
        let (outbox, _reader) = Outbox::new().unwrap();
        outbox.limit(CAPACITY);
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
