//! The streams of a device, and the queue of those that have a packet for the guest.

use super::VsockError;
use super::key::Key;
use super::stream::{Opening, Stream};
use std::collections::{HashMap, VecDeque};

/// The first host port of connections that the host opens, as in Firecracker.
const FIRST_PORT: u32 = 1 << 30;

/// The streams by key. Dropping the table fails the connections that the guest has not accepted yet.
pub struct StreamTable {
    streams: HashMap<Key, Stream>,
    turns: VecDeque<Key>,
    next_port: u32,
}

impl StreamTable {
    pub fn new() -> Self {
        Self { streams: HashMap::new(), turns: VecDeque::new(), next_port: FIRST_PORT }
    }

    /// Returns the number of streams.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Returns the number of queued streams.
    #[cfg(test)]
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        self.streams.get_mut(&key)
    }

    pub fn insert(&mut self, key: Key, stream: Stream) {
        self.streams.insert(key, stream);
        self.settle(key);
    }

    /// Applies a change of a stream: queues it if it has a packet for the guest, closes its socket, or removes it.
    pub fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.settle();
        if stream.connection.is_gone() {
            // A guest that connects repeatedly and provides no receive buffers would otherwise grow the queue without limit.
            if stream.queued {
                self.turns.retain(|turn| *turn != key);
            }
            self.streams.remove(&key);
        } else if !stream.queued && stream.next().is_some() {
            stream.queued = true;
            self.turns.push_back(key);
        }
    }

    /// Returns whether a stream has a packet for the guest. Removes other streams from the front of the queue.
    pub fn has_turn(&mut self) -> bool {
        while let Some(key) = self.turns.front() {
            match self.streams.get_mut(key) {
                Some(stream) if stream.next().is_some() => return true,
                Some(stream) => stream.queued = false,
                None => {}
            }
            self.turns.pop_front();
        }
        false
    }

    /// Removes the first stream from the queue and returns it.
    pub fn take_turn(&mut self) -> Option<(Key, &mut Stream)> {
        let key = self.turns.pop_front()?;
        let stream = self.streams.get_mut(&key)?;
        stream.queued = false;
        Some((key, stream))
    }

    /// Returns a host port that has no connection with `guest`. The limit of connections is below the number of ports.
    pub fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = if host == FIRST_PORT * 2 - 1 { FIRST_PORT } else { host + 1 };
            if !self.streams.contains_key(&Key { host, guest }) {
                return host;
            }
        }
    }
}

impl Drop for StreamTable {
    fn drop(&mut self) {
        for (_, stream) in self.streams.drain() {
            if let Some(Opening::Process(done)) = stream.opening {
                done(Err(VsockError::NotReady));
            }
        }
    }
}
