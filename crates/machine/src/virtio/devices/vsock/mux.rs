//! Connects the guest's packets to the sockets of the host, and chooses the next packet for the guest.
//!
//! No call here waits. Bytes that a socket cannot take stay within the credit of its stream. The device does not read the socket
//! of a stream while the guest gives the stream no credit.

use super::VsockError;
use super::connection::{Connection, Effect, Message};
use super::credit::BUFFER;
use super::host::HostEnd;
use super::key::{Key, LISTENER, NO_PORT, WAKE};
use super::packet::{HOST_CID, Header, Op, STREAM};
use super::path::HostPath;
use super::ports::{Connect, Ports};
use super::sockets::{EVENTS, Sockets};
use super::stream::{Opening, Stream};
use super::stream_table::StreamTable;
use super::unconnected::{Request, Unconnected};
use rustix::event::epoll::EventFlags;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

/// Resets that answer orphaned packets. While so many wait, the device takes no packet of the guest.
const MAX_RESETS: usize = 256;
/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;

/// All streams of a device, with their sockets.
pub struct Mux {
    /// The first field: dropping it fails pending connections while the sockets are still open.
    streams: StreamTable,
    unconnected: Unconnected,
    /// Answers to orphaned packets, which belong to no connection.
    resets: VecDeque<Header>,
    sockets: Sockets,
    cid: u64,
    ports: Arc<Ports>,
    path: Option<Arc<HostPath>>,
    buffer: Box<[u8]>,
    /// The limit of connections, including unconnected sockets.
    most: usize,
    /// The listening socket may have more programs to accept.
    unaccepted: bool,
}

impl Mux {
    pub fn new(cid: u64, ports: Arc<Ports>, path: Option<Arc<HostPath>>, most: usize) -> io::Result<Self> {
        Ok(Self {
            streams: StreamTable::new(),
            unconnected: Unconnected::default(),
            resets: VecDeque::new(),
            sockets: Sockets::new(&ports, path.as_deref())?,
            cid,
            ports,
            path,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            most,
            unaccepted: false,
        })
    }

    /// Returns the number of queued streams.
    #[cfg(test)]
    pub fn turns(&self) -> usize {
        self.streams.turns()
    }

    /// Returns a descriptor that is readable when [`Mux::poll`] has work.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.sockets.fd()
    }

    /// Makes [`Mux::fd`] readable, so that the worker calls [`Mux::poll`] again.
    pub fn again(&self) {
        self.ports.wake();
    }

    /// Returns whether there are connections.
    pub fn is_used(&self) -> bool {
        self.streams.len() > 0
    }

    /// Returns whether there is room for the answer to a packet of the guest.
    pub fn takes_packets(&self) -> bool {
        self.resets.len() < MAX_RESETS
    }

    /// Handles a packet of the guest. `body` has at least `header.len` bytes.
    pub fn packet(&mut self, header: &Header, body: &mut impl Read) -> io::Result<()> {
        // A packet with another source or destination gets no answer.
        if header.src_cid != self.cid || header.dst_cid != HOST_CID {
            return Ok(());
        }
        let key = Key { host: header.dst_port, guest: header.src_port };
        if header.kind != STREAM || key.host == NO_PORT || key.guest == NO_PORT {
            self.reset(header);
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(key) else {
            match header.op {
                Op::Request => self.accept(key, header),
                _ => self.reset(header),
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
        self.streams.settle(key);
        Ok(())
    }

    /// Opens a connection that the guest requests.
    fn accept(&mut self, key: Key, request: &Header) {
        let socket = if self.is_full() { None } else { self.reach(key) };
        match socket {
            Some(socket) if self.sockets.watch(&socket, key).is_ok() => {
                self.streams.insert(key, Stream::new(Connection::accept(request), HostEnd::new(socket), None));
            }
            _ => self.reset(request),
        }
    }

    /// Connects to the listener of a host port: in this process, or else a program that listens at the port's path.
    fn reach(&self, key: Key) -> Option<OwnedFd> {
        match self.ports.reach(key.host, key.guest) {
            Some(socket) => socket.map(OwnedFd::from),
            None => self.path.as_ref()?.connect(key.host).ok(),
        }
    }

    /// Answers an orphaned packet with a reset, unless the packet is a reset.
    fn reset(&mut self, packet: &Header) {
        if packet.op != Op::Reset {
            let key = Key { host: packet.dst_port, guest: packet.src_port };
            let mut reset = self.header(key, Op::Reset);
            reset.kind = packet.kind;
            self.resets.push_back(reset);
        }
    }

    /// Ends the host's side of a connection that has ended for the guest. After an orderly end, the guest's last bytes are still written.
    fn over(&mut self, key: Key, orderly: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let host = stream.host.take();
        match stream.opening.take() {
            Some(Opening::Process(done)) => done(Err(VsockError::Refused)),
            Some(Opening::Path) | None => {}
        }
        let Some(mut host) = host.filter(|_| orderly) else { return };
        host.finish();
        if !host.is_finished() {
            let key = self.unconnected.free_key();
            if self.sockets.rename(host.as_fd(), key).is_ok() {
                self.unconnected.insert_draining(key, host);
            }
        }
    }

    /// Returns whether there is a packet for the guest.
    pub fn has_turn(&mut self) -> bool {
        self.streams.has_turn() || !self.resets.is_empty()
    }

    /// Returns the next packet for the guest, with at most `room` bytes of data. `None` if the stream in turn has no packet after all.
    pub fn turn(&mut self, room: usize) -> Option<(Header, &[u8])> {
        if let Some(reset) = self.resets.pop_front() {
            return Some((reset, &[]));
        }
        let (key, stream) = self.streams.take_turn()?;
        let packet = stream.next_packet(room, &mut self.buffer).map(|(message, len)| {
            let fwd_cnt = stream.connection.record_sent(message, len);
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
        self.streams.settle(key);
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

    /// Handles the pending events of all sockets.
    pub fn poll(&mut self) -> io::Result<()> {
        for (key, flags) in self.sockets.events()? {
            match key {
                WAKE => {
                    self.ports.take_connects().into_iter().for_each(|connect| self.connect(connect));
                    if std::mem::take(&mut self.unaccepted) {
                        self.listen();
                    }
                }
                LISTENER => self.listen(),
                key if key.host == NO_PORT => {
                    if let Some(Request { socket, port }) = self.unconnected.event(key, flags) {
                        self.request(port, socket, Opening::Path, true);
                    }
                }
                key => self.event(key, flags),
            }
        }
        Ok(())
    }

    /// Handles an event of a stream's socket.
    fn event(&mut self, key: Key, flags: EventFlags) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let Some(host) = &mut stream.host else { return };
        host.edge(flags);
        let finished = host.is_finished();
        stream.flush();
        if finished && stream.connection.is_requesting() {
            stream.connection.host_gone();
            self.over(key, false);
        }
        self.streams.settle(key);
    }

    /// Accepts programs that connect to the listening socket. Closes the socket of a program above the limit.
    fn listen(&mut self) {
        let Some(path) = self.path.clone() else { return };
        for accepted in 0.. {
            if accepted == EVENTS {
                // The listening socket has no new edge for the remaining programs.
                self.unaccepted = true;
                return self.again();
            }
            // If no descriptor is left, the next program to connect causes a new edge.
            let Some(socket) = path.accept() else { return };
            if self.is_full() {
                continue;
            }
            let key = self.unconnected.free_key();
            if self.sockets.watch(&socket, key).is_ok() {
                self.unconnected.insert_handshake(key, socket);
            }
        }
    }

    /// Opens a connection that this process requests.
    fn connect(&mut self, Connect { port, socket, done }: Connect) {
        if self.is_full() {
            done(Err(VsockError::TooMany));
        } else {
            self.request(port, socket.into(), Opening::Process(done), false);
        }
    }

    /// Requests a connection to a port of the guest.
    fn request(&mut self, port: u32, socket: OwnedFd, opening: Opening, watched: bool) {
        let key = Key { host: self.streams.free_port(port), guest: port };
        let watching = if watched { self.sockets.rename(&socket, key) } else { self.sockets.watch(&socket, key) };
        let failed = match watching {
            _ if port == NO_PORT => Some(VsockError::Refused),
            Err(_) => Some(VsockError::TooMany),
            Ok(()) => None,
        };
        match (failed, opening) {
            (None, opening) => {
                self.streams.insert(key, Stream::new(Connection::request(), HostEnd::new(socket), Some(opening)));
            }
            (Some(error), Opening::Process(done)) => done(Err(error)),
            // Dropping the socket reports the failure to the program.
            (Some(_), Opening::Path) => {}
        }
    }

    fn is_full(&self) -> bool {
        self.streams.len() + self.unconnected.len() >= self.most
    }
}
