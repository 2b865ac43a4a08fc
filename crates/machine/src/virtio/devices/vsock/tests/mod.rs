//! Tests of the device with a driver that takes turns with the worker on one thread.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod limits;
mod protocol;
mod streams;

use super::credit::BUFFER;
use super::packet::{HEADER, HOST_CID, Header, NO_RECEIVE, NO_SEND, Op, STREAM};
use super::*;
use crate::virtio::interface::testing;
use kvm_accel::GuestRam;
use kvm_accel::cancel::Cancel;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
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
        while testing::serve(&mut *self.worker, Some(Duration::ZERO)).unwrap() > 0 {}
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

fn tempfile(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("kvm-accel-vsock-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
