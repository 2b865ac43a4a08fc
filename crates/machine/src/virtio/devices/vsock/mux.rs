//! All streams of a device: maps sockets to connections, and schedules their packets to the guest in round-robin order.
//!
//! One epoll instance polls all sockets edge-triggered, so the cost of a wait does not depend on the number of streams. The worker never
//! blocks on a socket: data that a socket does not take stays within the credit of its stream, and a socket is not read while the guest
//! gives its stream no credit.

use super::VsockError;
use super::connection::{Connection, Effect, Message};
use super::credit::BUFFER;
use super::handshake::{Handshake, Said};
use super::host::HostEnd;
use super::key::{Key, LISTENER, NO_PORT, WAKE};
use super::packet::{HOST_CID, Header, Op, STREAM};
use super::path::HostPath;
use super::ports::{Connect, Ports};
use super::stream::{Opening, Stream};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::sync::Arc;

/// The most resets that are queued for packets without a connection. While the queue is full, no packet is taken from the guest.
const MAX_STRAYS: usize = 256;
/// First port of connections that the host opens, as in Firecracker.
const FIRST_PORT: u32 = 1 << 30;
/// Bytes that are moved at a time.
const CHUNK: usize = 64 << 10;
/// Sockets that are handled before the queues are served.
const EVENTS: usize = 64;

/// Sockets that belong to no connection.
enum Other {
    /// A program of the host, which has not named the guest's port yet.
    Asking(OwnedFd, Handshake),
    /// The host's end of a connection that the guest has ended. Its last bytes have not been written yet.
    Rest(HostEnd),
}

/// All streams of a device, see the module.
pub struct Mux {
    cid: u64,
    ports: Arc<Ports>,
    path: Option<Arc<HostPath>>,
    epoll: OwnedFd,
    streams: HashMap<Key, Stream>,
    others: HashMap<Key, Other>,
    turns: VecDeque<Key>,
    strays: VecDeque<Header>,
    next_port: u32,
    next_other: u32,
    buffer: Box<[u8]>,
    /// The most connections at a time, `others` included.
    most: usize,
    /// More programs of the host may be waiting to be accepted.
    unaccepted: bool,
}

impl Mux {
    pub fn new(cid: u64, ports: Arc<Ports>, path: Option<Arc<HostPath>>, most: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, ports.wake_fd(), WAKE.data(), EventFlags::IN)?;
        if let Some(path) = &path {
            epoll::add(&epoll, path.listener(), LISTENER.data(), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self {
            cid,
            ports,
            path,
            epoll,
            streams: HashMap::new(),
            others: HashMap::new(),
            turns: VecDeque::new(),
            strays: VecDeque::new(),
            next_port: FIRST_PORT,
            next_other: 0,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            most,
            unaccepted: false,
        })
    }

    /// Returns the number of queued turns.
    #[cfg(test)]
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Returns a descriptor that is readable when [`Mux::poll`] has something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Makes [`Mux::fd`] readable, so that [`Mux::poll`] is called again.
    pub fn again(&self) {
        self.ports.wake();
    }

    /// True if there are connections.
    pub fn is_used(&self) -> bool {
        !self.streams.is_empty()
    }

    /// True while there is room to answer a packet of the guest.
    pub fn takes_packets(&self) -> bool {
        self.strays.len() < MAX_STRAYS
    }

    /// Processes a packet of the guest. `body` has at least `header.len` bytes.
    pub fn packet(&mut self, header: &Header, body: &mut impl Read) -> io::Result<()> {
        // A packet that is not from this guest or not for this host is dropped: it has no peer to answer.
        if header.src_cid != self.cid || header.dst_cid != HOST_CID {
            return Ok(());
        }
        let key = Key { host: header.dst_port, guest: header.src_port };
        if header.kind != STREAM || key.host == NO_PORT || key.guest == NO_PORT {
            self.stray(header);
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(&key) else {
            match header.op {
                Op::Request => self.accept(key, header),
                _ => self.stray(header),
            }
            return Ok(());
        };
        match stream.connection.packet(header) {
            Effect::None => {}
            Effect::Opened => stream.opened(key),
            Effect::Data => stream.take(header.len, body, &mut self.buffer)?,
            Effect::Ended => stream.ended(),
            Effect::Over { orderly } => self.over(key, orderly),
        }
        self.settle(key);
        Ok(())
    }

    /// Accepts or refuses a connection that the guest requests.
    fn accept(&mut self, key: Key, request: &Header) {
        let socket = if self.is_full() { None } else { self.reach(key) };
        match socket {
            Some(socket) if self.watch(&socket, key).is_ok() => {
                self.insert(key, Stream::new(Connection::accept(request), HostEnd::new(socket), None));
            }
            _ => self.stray(request),
        }
    }

    /// Connects to the listener of a port: a listener of this process, or else a program at the port's path.
    fn reach(&self, key: Key) -> Option<OwnedFd> {
        match self.ports.reach(key.host, key.guest) {
            Some(socket) => socket.map(OwnedFd::from),
            None => self.path.as_ref()?.connect(key.host).ok(),
        }
    }

    /// Queues a reset in answer to a packet without a connection. A reset is not answered.
    fn stray(&mut self, packet: &Header) {
        if packet.op != Op::Reset {
            let key = Key { host: packet.dst_port, guest: packet.src_port };
            let mut reset = self.header(key, Op::Reset);
            reset.kind = packet.kind;
            self.strays.push_back(reset);
        }
    }

    /// Ends a connection that is over for the guest.
    fn over(&mut self, key: Key, orderly: bool) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let host = stream.host.take();
        match stream.opening.take() {
            Some(Opening::Process(done)) => done(Err(VsockError::Refused)),
            Some(Opening::Path) | None => {}
        }
        let Some(mut host) = host.filter(|_| orderly) else { return };
        host.finish();
        if !host.is_finished() {
            let key = self.other();
            if epoll::modify(&self.epoll, host.as_fd(), key.data(), EDGES).is_ok() {
                self.others.insert(key, Other::Rest(host));
            }
        }
    }

    /// Updates a stream after a change: queues its turn if a packet is due, and drops its host's end or the whole stream if it is no longer
    /// needed.
    fn settle(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        stream.settle();
        if stream.connection.is_gone() {
            // Without this, a guest that takes no packets and reconnects repeatedly would make the list grow without bound.
            if stream.queued {
                self.turns.retain(|turn| *turn != key);
            }
            self.streams.remove(&key);
        } else if !stream.queued && stream.next().is_some() {
            stream.queued = true;
            self.turns.push_back(key);
        }
    }

    /// True if a packet for the guest is due.
    pub fn has_turn(&mut self) -> bool {
        while let Some(key) = self.turns.front() {
            match self.streams.get_mut(key) {
                Some(stream) if stream.next().is_some() => return true,
                Some(stream) => stream.queued = false,
                None => {}
            }
            self.turns.pop_front();
        }
        !self.strays.is_empty()
    }

    /// Takes the next packet for the guest: a header, and at most `room` bytes of data. Returns `None` if the stream turned out to have no
    /// packet.
    pub fn turn(&mut self, room: usize) -> Option<(Header, &[u8])> {
        if let Some(stray) = self.strays.pop_front() {
            return Some((stray, &[]));
        }
        let key = self.turns.pop_front()?;
        let stream = self.streams.get_mut(&key)?;
        stream.queued = false;
        let packet = stream.say(room, &mut self.buffer).map(|(message, len)| {
            let fwd_cnt = stream.connection.tell(message, len);
            let (op, flags) = match message {
                Message::Request => (Op::Request, 0),
                Message::Response => (Op::Response, 0),
                Message::Reset => (Op::Reset, 0),
                Message::Shutdown(flags) => (Op::Shutdown, flags),
                Message::CreditUpdate => (Op::CreditUpdate, 0),
                Message::CreditRequest => (Op::CreditRequest, 0),
                Message::Data(_) => (Op::Data, 0),
            };
            (op, flags, len, fwd_cnt)
        });
        self.settle(key);
        let (op, flags, len, fwd_cnt) = packet?;
        let header = Header { flags, len, buf_alloc: BUFFER, fwd_cnt, ..self.header(key, op) };
        Some((header, &self.buffer[..usize::try_from(len).unwrap_or(0)]))
    }

    fn header(&self, key: Key, op: Op) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.cid,
            src_port: key.host,
            dst_port: key.guest,
            len: 0,
            kind: STREAM,
            op,
            flags: 0,
            buf_alloc: 0,
            fwd_cnt: 0,
        }
    }

    /// Handles the events of the sockets.
    pub fn poll(&mut self) -> io::Result<()> {
        let none = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut events = [none; EVENTS];
        let count = match epoll::wait(&self.epoll, &mut events, Some(&Timespec::default())) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for Event { flags, data } in events.into_iter().take(count) {
            match Key::of(data) {
                WAKE => {
                    self.ports.take_connects().into_iter().for_each(|connect| self.connect(connect));
                    if std::mem::take(&mut self.unaccepted) {
                        self.listen();
                    }
                }
                LISTENER => self.listen(),
                key if key.host == NO_PORT => self.other_event(key, flags),
                key => self.event(key, flags),
            }
        }
        Ok(())
    }

    fn event(&mut self, key: Key, flags: EventFlags) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let Some(host) = &mut stream.host else { return };
        host.edge(flags);
        let finished = host.is_finished();
        stream.flush();
        if finished && stream.connection.is_requesting() {
            stream.connection.host_gone();
            self.over(key, false);
        }
        self.settle(key);
    }

    fn other_event(&mut self, key: Key, flags: EventFlags) {
        match self.others.get_mut(&key) {
            Some(Other::Asking(socket, handshake)) => match handshake.read(&*socket) {
                Said::Part => {}
                Said::Nonsense => drop(self.others.remove(&key)),
                Said::Connect(port) => {
                    if let Some(Other::Asking(socket, _)) = self.others.remove(&key) {
                        self.request(port, socket, Opening::Path, true);
                    }
                }
            },
            Some(Other::Rest(host)) => {
                host.edge(flags);
                host.flush();
                if host.is_finished() {
                    self.others.remove(&key);
                }
            }
            None => {}
        }
    }

    /// Accepts programs of the host that connect.
    fn listen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        // The listening socket is edge-triggered, so a program that is not accepted here causes no further event: after a full batch, the
        // worker calls this again. A program beyond the limit is accepted and closed. If no descriptor is left, the next program to connect
        // causes another attempt.
        for accepted in 0.. {
            if accepted == EVENTS {
                self.unaccepted = true;
                return self.again();
            }
            let Some(socket) = path.accept() else { return };
            if self.is_full() {
                continue;
            }
            let key = self.other();
            if self.watch(&socket, key).is_ok() {
                self.others.insert(key, Other::Asking(socket, Handshake::default()));
            }
        }
    }

    /// Handles a connection request of this process.
    fn connect(&mut self, Connect { port, socket, done }: Connect) {
        if self.is_full() {
            done(Err(VsockError::TooMany));
        } else {
            self.request(port, socket.into(), Opening::Process(done), false);
        }
    }

    fn request(&mut self, port: u32, socket: OwnedFd, opening: Opening, watched: bool) {
        let key = Key { host: self.free_port(port), guest: port };
        let watching =
            if watched { epoll::modify(&self.epoll, &socket, key.data(), EDGES) } else { self.watch(&socket, key) };
        let failed = match watching {
            _ if port == NO_PORT => Some(VsockError::Refused),
            Err(_) => Some(VsockError::TooMany),
            Ok(()) => None,
        };
        match (failed, opening) {
            (None, opening) => {
                self.insert(key, Stream::new(Connection::request(), HostEnd::new(socket), Some(opening)));
            }
            (Some(error), Opening::Process(done)) => done(Err(error)),
            // Dropping the socket has closed it.
            (Some(_), Opening::Path) => {}
        }
    }

    fn insert(&mut self, key: Key, stream: Stream) {
        self.streams.insert(key, stream);
        self.settle(key);
    }

    fn watch(&self, socket: &OwnedFd, key: Key) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, socket, key.data(), EDGES)
    }

    fn is_full(&self) -> bool {
        self.streams.len() + self.others.len() >= self.most
    }

    /// Returns a port of the host that has no connection with this port of the guest. It always finds one: there are fewer connections than
    /// ports.
    fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = if host == FIRST_PORT * 2 - 1 { FIRST_PORT } else { host + 1 };
            if !self.streams.contains_key(&Key { host, guest }) {
                return host;
            }
        }
    }

    fn other(&mut self) -> Key {
        loop {
            let key = Key { host: NO_PORT, guest: self.next_other };
            self.next_other = if key.guest == LISTENER.guest - 1 { 0 } else { key.guest + 1 };
            if !self.others.contains_key(&key) {
                return key;
            }
        }
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        for (_, stream) in self.streams.drain() {
            if let Some(Opening::Process(done)) = stream.opening {
                done(Err(VsockError::NotReady));
            }
        }
    }
}

const EDGES: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
