#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::credit::BUFFER;
use super::packet::{HEADER, HOST_CID, Header, NO_RECEIVE, NO_SEND, Op, STREAM};
use super::*;
use crate::virtio::interface::testing;
use kvm_accel::GuestRam;
use kvm_accel::cancel::Cancel;
use proptest::prelude::*;
use rustix::event::{Timespec, poll};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use vm_memory::{Bytes, GuestAddress};

const CID: u32 = 42;
const MAX_CONNECTIONS: usize = 16;
const RINGS: u64 = 0x1000;
const RECEIVE_BUFFERS: u64 = 0x2_0000;
const RECEIVE_SIZE: u64 = 4096;
const TRANSMIT_BUFFER: u64 = 0x2_a000;
const EVENT_BUFFER: u64 = 0x1_f000;
const GUEST_BUFFER: u32 = 1 << 18;

/// A driver, and the device's worker on the same thread.
struct Guest {
    ram: GuestRam,
    worker: Box<dyn Worker>,
    /// For each queue: the number of chains made available, and of chains seen used.
    available: [u16; 3],
    used: [u16; 3],
}

impl Guest {
    fn new(vsock: &Vsock) -> Self {
        let (ram, driver) = testing::driver(vsock, 0).unwrap();
        let mut this = Self { ram, worker: vsock.activate(driver), available: [0; 3], used: [0; 3] };
        (0..8).for_each(|_| this.offer());
        this
    }

    /// Makes one descriptor available, and signals the doorbell.
    fn make_available(&mut self, queue: usize, address: u64, len: u32, writable: bool) -> Result<(), WorkerError> {
        let slot = u64::from(self.available[queue] % 8);
        let base = queue as u64 * RINGS;
        let flags = [u8::from(writable) * 2, 0, 0, 0];
        let descriptor = [address.to_le_bytes().as_slice(), &len.to_le_bytes(), &flags].concat();
        self.ram.write_slice(&descriptor, GuestAddress(base + 16 * slot)).unwrap();
        let ring = base + RINGS / 4;
        let place = u64::from(self.available[queue] % 16);
        self.ram.write_obj(slot as u16, GuestAddress(ring + 4 + 2 * place)).unwrap();
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.ram.write_obj(self.available[queue], GuestAddress(ring + 2)).unwrap();
        self.worker.notified(queue)
    }

    /// Offers one more receive buffer.
    fn offer(&mut self) {
        let address = RECEIVE_BUFFERS + u64::from(self.available[0] % 8) * (RECEIVE_SIZE + 64);
        self.make_available(0, address, HEADER as u32 + RECEIVE_SIZE as u32, true).unwrap();
    }

    fn try_send(&mut self, header: &Header, data: &[u8]) -> Result<(), WorkerError> {
        self.ram.write_slice(&header.to_bytes(), GuestAddress(TRANSMIT_BUFFER)).unwrap();
        self.ram.write_slice(data, GuestAddress(TRANSMIT_BUFFER + HEADER as u64)).unwrap();
        self.make_available(1, TRANSMIT_BUFFER, (HEADER + data.len()) as u32, false)
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        self.try_send(&Header { len: data.len() as u32, ..header }, data).unwrap();
    }

    fn used_index(&self, queue: usize) -> u16 {
        self.ram.read_obj(GuestAddress(queue as u64 * RINGS + RINGS / 2 + 2)).unwrap()
    }

    /// Calls the worker until none of its sockets is ready.
    fn turn(&mut self) {
        loop {
            let mut sources = Vec::new();
            self.worker.sources(&mut sources);
            if poll(&mut sources, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 0 {
                return;
            }
            self.worker.ready(0).unwrap();
        }
    }

    /// Returns the next packet to the guest, and offers its buffer again.
    fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        self.turn();
        if self.used_index(0) == self.used[0] {
            return None;
        }
        let element = RINGS / 2 + 4 + 8 * u64::from(self.used[0] % 16);
        let id: u32 = self.ram.read_obj(GuestAddress(element)).unwrap();
        let len: u32 = self.ram.read_obj(GuestAddress(element + 4)).unwrap();
        let address: u64 = self.ram.read_obj(GuestAddress(16 * u64::from(id))).unwrap();
        let mut bytes = vec![0; len as usize];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        self.used[0] = self.used[0].wrapping_add(1);
        let data = bytes.split_off(HEADER);
        let header = Header::from_bytes(&bytes.try_into().unwrap());
        assert_eq!((header.src_cid, header.dst_cid, header.len), (HOST_CID, CID.into(), data.len() as u32));
        self.offer();
        Some((header, data))
    }

    fn expect(&mut self, op: Op) -> Header {
        let (header, data) = self.receive().unwrap();
        assert_eq!((header.op, data.len()), (op, 0));
        header
    }

    /// Opens a connection from port 1000 of the guest to a port of the host.
    fn connect(&mut self, port: u32) -> Header {
        self.send(to(port, Op::Request), &[]);
        self.expect(Op::Response);
        to(port, Op::Data)
    }
}

fn to(port: u32, op: Op) -> Header {
    Header {
        src_cid: CID.into(),
        dst_cid: HOST_CID,
        src_port: 1000,
        dst_port: port,
        len: 0,
        kind: STREAM,
        op,
        flags: 0,
        buf_alloc: GUEST_BUFFER,
        fwd_cnt: 0,
    }
}

fn listen(vsock: &Vsock, port: u32) -> Listener {
    vsock.listen(port, 4, Box::new(|| {})).unwrap()
}

fn connect(vsock: &Vsock, port: u32) -> (UnixStream, Receiver<Result<u32, VsockError>>) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (done, result) = channel();
    vsock.connect(port, ours, Box::new(move |outcome| _ = done.send(outcome)));
    (theirs, result)
}

fn device() -> (Vsock, Guest) {
    let vsock = Vsock::new(CID, None).unwrap();
    let guest = Guest::new(&vsock);
    (vsock, guest)
}

#[test]
fn test_a_guest_reaches_a_listener_of_this_process() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, port } = listener.accept().unwrap();
    assert_eq!(port, 1000);
    guest.send(data, b"ping");
    let mut heard = [0; 4];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
    socket.write_all(b"pong").unwrap();
    let (header, bytes) = guest.receive().unwrap();
    assert_eq!((header.op, header.src_port, header.dst_port, header.fwd_cnt), (Op::Data, 52, 1000, 4));
    assert_eq!(bytes, b"pong");
    // The host's end closes first, then the guest's.
    drop(socket);
    assert_eq!(guest.expect(Op::Shutdown).flags, NO_SEND | NO_RECEIVE);
    guest.send(Header { flags: NO_SEND | NO_RECEIVE, ..to(52, Op::Shutdown) }, &[]);
    guest.expect(Op::Reset);
    assert_eq!(guest.receive(), None);
    // The device has forgotten the connection.
    guest.connect(52);
}

#[test]
fn test_a_port_without_listener_is_refused() {
    let (vsock, mut guest) = device();
    guest.send(to(52, Op::Request), &[]);
    guest.expect(Op::Reset);
    let listener = listen(&vsock, 52);
    guest.connect(52);
    drop(listener);
    guest.send(Header { src_port: 1001, ..to(52, Op::Request) }, &[]);
    // The first connection was not accepted.
    let ops = [guest.receive().unwrap().0.op, guest.receive().unwrap().0.op];
    assert!(ops.contains(&Op::Reset) && ops.contains(&Op::Shutdown), "{ops:?}");
}

#[test]
fn test_a_full_backlog_refuses() {
    let (vsock, mut guest) = device();
    let arrived = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&arrived);
    let count = Box::new(move || _ = counter.fetch_add(1, Ordering::Relaxed));
    let listener = vsock.listen(52, 1, count).unwrap();
    guest.connect(52);
    guest.send(Header { src_port: 1001, ..to(52, Op::Request) }, &[]);
    assert_eq!(guest.expect(Op::Reset).dst_port, 1001);
    assert_eq!(arrived.load(Ordering::Relaxed), 1);
    let _accepted = listener.accept().unwrap();
    guest.send(Header { src_port: 1002, ..to(52, Op::Request) }, &[]);
    guest.expect(Op::Response);
}

#[test]
fn test_this_process_reaches_the_guest_and_each_side_ends_its_direction() {
    let (vsock, mut guest) = device();
    let (mut socket, result) = connect(&vsock, 7);
    let request = guest.expect(Op::Request);
    assert_eq!(request.dst_port, 7);
    assert!(result.try_recv().is_err());
    let answer = |op| Header { src_port: 7, ..to(request.src_port, op) };
    guest.send(answer(Op::Response), &[]);
    assert_eq!(result.try_recv().unwrap(), Ok(request.src_port));
    socket.write_all(b"question").unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(guest.receive().unwrap().1, b"question");
    assert_eq!(guest.expect(Op::Shutdown).flags, NO_SEND);
    guest.send(answer(Op::Data), b"answer");
    guest.send(Header { flags: NO_SEND, ..answer(Op::Shutdown) }, &[]);
    let mut heard = String::new();
    socket.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "answer");
    // Both directions are closed: the device drops the socket, and sends SHUTDOWN for both.
    assert_eq!(guest.expect(Op::Shutdown).flags, NO_SEND | NO_RECEIVE);
}

#[test]
fn test_a_refusal_and_a_reset_are_reported() {
    let (vsock, mut guest) = device();
    let (_socket, result) = connect(&vsock, 7);
    let request = guest.expect(Op::Request);
    guest.send(Header { src_port: 7, ..to(request.src_port, Op::Reset) }, &[]);
    assert_eq!(result.try_recv().unwrap(), Err(VsockError::Refused));
    let (_socket, result) = connect(&vsock, 7);
    guest.expect(Op::Request);
    let (_socket, untaken) = connect(&vsock, 7);
    drop(guest);
    assert_eq!(result.try_recv().unwrap(), Err(VsockError::NotReady));
    assert_eq!(untaken.try_recv().unwrap(), Err(VsockError::NotReady));
    assert_eq!(connect(&vsock, 7).1.try_recv().unwrap(), Err(VsockError::NotReady));
}

#[test]
fn test_a_connection_closed_before_the_answer_is_removed() {
    let (vsock, mut guest) = device();
    let (socket, _result) = connect(&vsock, 7);
    let request = guest.expect(Op::Request);
    drop(socket);
    assert_eq!(guest.expect(Op::Reset).src_port, request.src_port);
    // The response arrives too late.
    guest.send(Header { src_port: 7, ..to(request.src_port, Op::Response) }, &[]);
    guest.expect(Op::Reset);
}

#[test]
fn test_a_guest_is_notified_of_a_reset_that_ended_its_connections() {
    let (vsock, mut guest) = device();
    let _listener = listen(&vsock, 52);
    guest.make_available(2, EVENT_BUFFER, 4, true).unwrap();
    assert_eq!(guest.used_index(2), 0);
    guest.connect(52);
    drop(guest);
    let mut guest = Guest::new(&vsock);
    guest.ram.write_obj(7_u32, GuestAddress(EVENT_BUFFER)).unwrap();
    guest.make_available(2, EVENT_BUFFER, 4, true).unwrap();
    assert_eq!(guest.used_index(2), 1);
    assert_eq!(guest.ram.read_obj::<u32>(GuestAddress(EVENT_BUFFER)).unwrap(), 0);
    guest.make_available(2, EVENT_BUFFER, 4, true).unwrap();
    assert_eq!(guest.used_index(2), 1);
}

#[test]
fn test_a_host_that_does_not_read_holds_no_more_than_the_credit() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, .. } = listener.accept().unwrap();
    let chunk: Vec<u8> = (0..=255).cycle().take(32 << 10).collect();
    // The device forwards what the socket takes, and reports it in `fwd_cnt`. The rest waits in the device.
    let (mut sent, mut told) = (0_u32, 0);
    while sent + chunk.len() as u32 <= told + BUFFER {
        guest.send(data, &chunk);
        sent += chunk.len() as u32;
        while let Some((header, _)) = guest.receive() {
            assert_eq!((header.op, header.buf_alloc), (Op::CreditUpdate, BUFFER));
            told = header.fwd_cnt;
        }
    }
    // All data arrives once the host reads.
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    for _ in 0..1000 {
        let _ = socket.read_to_end(&mut heard);
        while let Some((header, _)) = guest.receive() {
            assert_eq!(header.op, Op::CreditUpdate);
        }
    }
    assert_eq!(heard.len(), sent as usize);
    assert!(heard.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b));
}

#[test]
fn test_a_guest_that_sends_more_than_its_credit_is_reset() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let _accepted = listener.accept().unwrap();
    let chunk = vec![0; 64 << 10];
    for _ in 0..100 {
        guest.send(data, &chunk);
        if let Some((header, _)) = guest.receive()
            && header.op == Op::Reset
        {
            return;
        }
    }
    panic!("it could send for ever");
}

#[test]
fn test_what_a_guest_sent_before_it_closed_arrives() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, .. } = listener.accept().unwrap();
    let (mut sent, mut told) = (0, 0);
    let chunk = vec![5; 32 << 10];
    while sent + chunk.len() as u32 <= told + BUFFER {
        guest.send(data, &chunk);
        sent += chunk.len() as u32;
        while let Some((header, _)) = guest.receive() {
            told = header.fwd_cnt;
        }
    }
    assert!(told < sent);
    guest.send(Header { flags: NO_SEND | NO_RECEIVE, ..to(52, Op::Shutdown) }, &[]);
    guest.expect(Op::Reset);
    socket.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    while socket.read_to_end(&mut heard).is_err() {
        guest.turn();
    }
    assert_eq!(heard.len(), sent as usize);
}

#[test]
fn test_a_guest_without_room_is_asked_and_gets_no_more_than_it_takes() {
    let (vsock, mut guest) = device();
    let (mut socket, _result) = connect(&vsock, 7);
    let request = guest.expect(Op::Request);
    let answer = |op, fwd_cnt| Header { src_port: 7, buf_alloc: 6000, fwd_cnt, ..to(request.src_port, op) };
    guest.send(answer(Op::Response, 0), &[]);
    socket.write_all(&[1; 10_000]).unwrap();
    assert_eq!(guest.receive().unwrap().1.len(), 4096);
    assert_eq!(guest.receive().unwrap().1.len(), 6000 - 4096);
    guest.expect(Op::CreditRequest);
    assert_eq!(guest.receive(), None);
    guest.send(answer(Op::CreditUpdate, 1000), &[]);
    assert_eq!(guest.receive().unwrap().1.len(), 1000);
    guest.expect(Op::CreditRequest);
    guest.send(answer(Op::CreditUpdate, 7000), &[]);
    assert_eq!(guest.receive().unwrap().1.len(), 3000);
    assert_eq!(guest.receive(), None);
}

#[test]
fn test_one_connection_too_many_is_refused() {
    let folder = tempfile("many");
    let limits = VsockLimits { connections: MAX_CONNECTIONS, ..VsockLimits::default() };
    let vsock = Vsock::with_limits(CID, Some(&folder.join("vsock")), limits, &Cancel::default()).unwrap();
    let mut guest = Guest::new(&vsock);
    let listener = vsock.listen(52, MAX_CONNECTIONS, Box::new(|| {})).unwrap();
    // A program that has not named a port counts as a connection.
    let silent = UnixStream::connect(folder.join("vsock")).unwrap();
    guest.turn();
    let last = 999 + MAX_CONNECTIONS as u32;
    for src_port in 1000..last {
        guest.send(Header { src_port, ..to(52, Op::Request) }, &[]);
        guest.expect(Op::Response);
    }
    guest.send(Header { src_port: last, ..to(52, Op::Request) }, &[]);
    guest.expect(Op::Reset);
    let (_socket, result) = connect(&vsock, 7);
    let mut program = UnixStream::connect(folder.join("vsock")).unwrap();
    guest.turn();
    assert_eq!(result.try_recv().unwrap(), Err(VsockError::TooMany));
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
    drop(silent);
    guest.turn();
    guest.send(Header { src_port: last, ..to(52, Op::Request) }, &[]);
    guest.expect(Op::Response);
    drop((listener, vsock));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn test_limits_of_bytes_and_of_unaccepted_connections_refuse_the_guest() {
    let limits = VsockLimits { connections: 100, buffered: 3 * BUFFER as usize + 1 };
    let vsock = Vsock::with_limits(CID, None, limits, &Cancel::default()).unwrap();
    let mut guest = Guest::new(&vsock);
    let [first, second] = [52, 53].map(|port| vsock.listen(port, 100, Box::new(|| {})).unwrap());
    let mut connect = |port, src_port, op| {
        guest.send(Header { src_port, ..to(port, Op::Request) }, &[]);
        guest.expect(op);
        // The guest resets the connection, but the host's end still waits to be accepted.
        guest.send(Header { src_port, ..to(port, Op::Reset) }, &[]);
    };
    connect(52, 1, Op::Response);
    connect(53, 2, Op::Response);
    connect(52, 3, Op::Response);
    connect(53, 4, Op::Reset);
    connect(52, 5, Op::Reset);
    assert!(second.accept().is_some());
    connect(52, 6, Op::Response);
    connect(52, 7, Op::Reset);
    drop(first);
    connect(53, 8, Op::Response);
    // Accepted connections count until they are closed.
    let mut held = vec![second.accept().unwrap()];
    for src_port in 10..13 {
        guest.send(Header { src_port, ..to(53, Op::Request) }, &[]);
        guest.expect(Op::Response);
        held.push(second.accept().unwrap());
    }
    guest.send(Header { src_port: 13, ..to(53, Op::Request) }, &[]);
    guest.expect(Op::Reset);
    assert_eq!(held.iter().map(|accepted| accepted.port).collect::<Vec<_>>(), [8, 10, 11, 12]);
    for limits in [VsockLimits { connections: 0, ..limits }, VsockLimits { buffered: BUFFER as usize - 1, ..limits }] {
        assert!(
            Vsock::with_limits(CID, None, limits, &Cancel::default())
                .unwrap_err()
                .to_string()
                .contains("at least 1 connection")
        );
    }
}

#[test]
fn test_a_guest_that_takes_no_packets_and_connects_again_and_again_costs_no_memory() {
    let (vsock, guest) = device();
    drop(guest);
    let listener = vsock.listen(52, 4, Box::new(|| {})).unwrap();
    let mut mux = super::mux::Mux::new(CID.into(), Arc::clone(&vsock.ports), None, 16).unwrap();
    mux.packet(&Header { src_port: 1, ..to(52, Op::Request) }, &mut [].as_slice()).unwrap();
    let turns = mux.turns();
    for src_port in 2..1000 {
        mux.packet(&Header { src_port, ..to(52, Op::Request) }, &mut [].as_slice()).unwrap();
        while listener.accept().is_some() {}
        mux.packet(&Header { src_port, ..to(52, Op::Reset) }, &mut [].as_slice()).unwrap();
    }
    assert_eq!(mux.turns(), turns);
}

#[test]
fn test_programs_of_the_host_connect_by_the_path_and_are_connected_to_behind_it() {
    let folder = tempfile("paths");
    let path = folder.join("vsock");
    let vsock = Vsock::new(CID, Some(&path)).unwrap();
    assert!(Vsock::new(CID, Some(&path)).is_err());
    let mut guest = Guest::new(&vsock);
    let mut program = UnixStream::connect(&path).unwrap();
    program.write_all(b"CONNECT 7\nhello").unwrap();
    let request = guest.expect(Op::Request);
    guest.send(Header { src_port: 7, ..to(request.src_port, Op::Response) }, &[]);
    let mut answer = vec![0; format!("OK {}\n", request.src_port).len()];
    program.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), format!("OK {}\n", request.src_port));
    assert_eq!(guest.receive().unwrap().1, b"hello");
    // An invalid line.
    let mut program = UnixStream::connect(&path).unwrap();
    program.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    guest.turn();
    // The socket is reset, because the device has not read all of its data.
    assert!(program.read(&mut [0; 1]).map_or(true, |read| read == 0));
    // A connection in the other direction.
    guest.send(to(80, Op::Request), &[]);
    guest.expect(Op::Reset);
    let server = UnixListener::bind(folder.join("vsock_80")).unwrap();
    let data = guest.connect(80);
    let (mut program, _) = server.accept().unwrap();
    guest.send(data, b"hi");
    let mut heard = [0; 2];
    program.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hi");
    // A listener of this process takes precedence over a program at the path.
    let listener = listen(&vsock, 80);
    guest.send(Header { src_port: 1001, ..to(80, Op::Request) }, &[]);
    guest.expect(Op::Response);
    assert!(listener.accept().is_some());
    drop((guest, vsock));
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn test_invalid_packets_are_answered_or_dropped() {
    let (vsock, mut guest) = device();
    let _listener = listen(&vsock, 52);
    // Packets that are not for the host, or not from this guest.
    guest.send(Header { dst_cid: 9, ..to(52, Op::Request) }, &[]);
    guest.send(Header { src_cid: 9, ..to(52, Op::Request) }, &[]);
    // A reset is never answered.
    guest.send(to(52, Op::Reset), &[]);
    assert_eq!(guest.receive(), None);
    // Another type, no port, and packets without a connection.
    for packet in [
        Header { kind: 2, ..to(52, Op::Request) },
        to(u32::MAX, Op::Request),
        Header { src_port: u32::MAX, ..to(52, Op::Request) },
        to(52, Op::Data),
        to(52, Op::Other(77)),
    ] {
        guest.send(packet, &[]);
        let reset = guest.expect(Op::Reset);
        assert_eq!((reset.kind, reset.dst_port, reset.src_port), (packet.kind, packet.src_port, packet.dst_port));
    }
    assert_eq!(guest.used_index(1), 8);
}

#[test]
fn test_packets_that_are_shorter_than_they_say_stop_the_device() {
    let (_vsock, mut guest) = device();
    let long = Header { len: 100, ..to(52, Op::Data) };
    assert!(guest.try_send(&long, &[0; 99]).is_err());
    let (_vsock, mut guest) = device();
    assert!(guest.make_available(1, TRANSMIT_BUFFER, HEADER as u32 - 1, false).is_err());
    let (_vsock, mut guest) = device();
    assert!(guest.make_available(1, testing::RAM, HEADER as u32, false).is_err());
    // A receive buffer without room for data, once there is something to receive.
    let (vsock, driver) = (Vsock::new(CID, None).unwrap(), |vsock: &Vsock| testing::driver(vsock, 0).unwrap());
    let (ram, driver) = driver(&vsock);
    let mut guest = Guest { ram, worker: vsock.activate(driver), available: [0; 3], used: [0; 3] };
    guest.make_available(0, RECEIVE_BUFFERS, HEADER as u32, true).unwrap();
    assert!(guest.try_send(&to(52, Op::Request), &[]).is_err());
}

#[test]
fn test_a_guest_that_takes_no_answers_is_not_served() {
    let vsock = Vsock::new(CID, None).unwrap();
    let (ram, driver) = testing::driver(&vsock, 0).unwrap();
    let mut guest = Guest { ram, worker: vsock.activate(driver), available: [0; 3], used: [0; 3] };
    for _ in 0..256 {
        guest.send(to(52, Op::Request), &[]);
    }
    assert_eq!(guest.used_index(1), 256);
    guest.send(to(52, Op::Request), &[]);
    assert_eq!(guest.used_index(1), 256);
    guest.offer();
    assert_eq!(guest.used_index(1), 257);
}

#[test]
fn test_only_guests_have_addresses() {
    for cid in [0, 1, 2, u32::MAX] {
        assert!(Vsock::new(cid, None).is_err());
    }
    let vsock = Vsock::new(u32::MAX - 1, None).unwrap();
    let mut config = [9; 10];
    vsock.read_config(0, &mut config);
    assert_eq!(config, [0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    vsock.read_config(u64::MAX, &mut config[..1]);
    assert!(Vsock::new(3, Some(Path::new(&"x".repeat(98)))).is_err());
    assert!(Vsock::new(3, Some(Path::new("/nowhere/at/all"))).is_err());
}

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("kvm-accel-vsock-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// An event at a device with a few connections. Each event may concern any of them.
#[derive(Clone, Debug)]
enum Step {
    Packet { op: u16, from: u32, to: u32, flags: u32, len: u32, buf_alloc: u32, fwd_cnt: u32 },
    Connect(u32),
    Write(usize, usize),
    Read(usize),
    End(usize),
    Drop(usize),
    Receive,
}

fn any_step() -> impl Strategy<Value = Step> {
    let credit = prop_oneof![Just(0), Just(10_000), any::<u32>()];
    let packet = (0..9_u16, 1000..1003_u32, 0..3_u32, 0..4_u32, 0..3000_u32, credit, any::<u32>());
    prop_oneof![
        8 => packet.prop_map(|(op, from, to, flags, len, buf_alloc, fwd_cnt)| Step::Packet { op, from, to, flags, len, buf_alloc, fwd_cnt: fwd_cnt % 20_000 }),
        1 => (1000..1003_u32).prop_map(Step::Connect),
        2 => (0..4_usize, 1..9000_usize).prop_map(|(socket, len)| Step::Write(socket, len)),
        2 => (0..4_usize).prop_map(Step::Read),
        1 => (0..4_usize).prop_map(Step::End),
        1 => (0..4_usize).prop_map(Step::Drop),
        8 => Just(Step::Receive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// For any sequence of guest and host events, the device takes every packet, sends the guest nothing beyond its credit, comes to rest,
    /// and forgets streams that the guest has reset.
    #[test]
    fn test_a_device_survives_everybody(steps in prop::collection::vec(any_step(), 1..60)) {
        let (vsock, mut guest) = device();
        let listener = listen(&vsock, 1);
        let mut sockets: Vec<UnixStream> = Vec::new();
        for step in steps {
            match step {
                Step::Packet { op, from, to: port, flags, len, buf_alloc, fwd_cnt } => {
                    // The first ports are the listener's and one without a listener; the last is that of the host's first connection.
                    let dst_port = if port == 2 { 1 << 30 } else { port };
                    let mut raw = Header { src_port: from, flags, buf_alloc, fwd_cnt, len, ..to(dst_port, Op::Data) }.to_bytes();
                    raw[30..32].copy_from_slice(&op.to_le_bytes());
                    guest.send(Header::from_bytes(&raw), &vec![7; len as usize]);
                }
                Step::Connect(port) => sockets.push(connect(&vsock, port).0),
                Step::Write(socket, len) => _ = sockets.get(socket).map(|mut socket| socket.write(&vec![9; len])),
                Step::Read(socket) => _ = sockets.get(socket).map(|mut socket| socket.read(&mut [0; 5000])),
                Step::End(socket) => _ = sockets.get(socket).map(|socket| socket.shutdown(std::net::Shutdown::Write)),
                Step::Drop(socket) => if socket < sockets.len() { drop(sockets.remove(socket)) },
                Step::Receive => _ = guest.receive(),
            }
            while let Some(Accepted { socket, .. }) = listener.accept() {
                socket.set_nonblocking(true).unwrap();
                sockets.push(socket);
            }
        }
        // The host closes everything, and the guest resets every connection. After that the device sends no more packets.
        drop((sockets, listener));
        let mut packets = 0;
        while let Some((header, _)) = guest.receive() {
            packets += 1;
            prop_assert!(packets < 1000);
            if header.op != Op::Reset {
                guest.send(Header { src_port: header.dst_port, ..to(header.src_port, Op::Reset) }, &[]);
            }
        }
        prop_assert_eq!(guest.used_index(1), guest.available[1]);
    }
}
