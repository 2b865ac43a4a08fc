#![allow(clippy::unwrap_used)]

use super::frames::BACKEND;
use super::*;
use crate::Sources;
use crate::virtio::interface::testing::{self, Ring};
use crate::virtio::interface::{DriverError, WorkerError};
use kvm_accel::GuestRam;
use kvm_accel::cancel::Cancelled;
use kvm_accel::tap::Tap;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socketpair};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// Creates a network device whose back end is a socket of the test.
fn network(features: u64) -> (Net, UnixStream, GuestRam, Vec<Ring>, Box<dyn Worker>) {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let backend = Backend::stream(theirs).unwrap();
    let throttle = ThrottleConfig::default();
    let net = Net::new(NetConfig { backend, mac: MAC, mtu: Some(1400), throttle }).unwrap();
    let (ram, driver) = testing::driver(&net, features).unwrap();
    let rings = (0..2).map(|queue| Ring::new(&ram, queue)).collect();
    let worker = net.activate(driver);
    (net, ours.into(), ram, rings, worker)
}

fn receive(peer: &mut UnixStream) -> Vec<u8> {
    let mut len = [0; 4];
    peer.read_exact(&mut len).unwrap();
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
    peer.read_exact(&mut frame).unwrap();
    frame
}

fn send(peer: &mut UnixStream, frame: &[u8]) {
    peer.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    peer.write_all(frame).unwrap();
}

#[test]
fn test_the_driver_learns_mac_link_and_mtu() {
    let (net, ..) = network(0);
    let mut config = [0xff; 16];
    net.read_config(0, &mut config);
    assert_eq!(config, [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0, 1, 0, 0x78, 5, 0, 0, 0, 0]);
    assert_ne!(net.features() & 1 << VIRTIO_NET_F_MTU, 0);
    assert_eq!(net.features() & OFFLOADS, 0, "a stream finishes nothing");
}

#[test]
fn test_frames_go_out_whole_and_what_is_none_is_dropped() {
    let (_net, mut peer, ram, mut rings, mut worker) = network(0);
    let frame: Vec<u8> = (0..100).collect();
    // The frame is split in the middle of the header and again in its contents.
    let bytes = [&[0; 12], frame.as_slice()].concat();
    rings[1].offer(&ram, &[(&bytes[..5], false), (&bytes[5..50], false), (&bytes[50..], false)]);
    // Shorter than a header; only a header.
    rings[1].offer(&ram, &[(&[0; 7], false)]);
    rings[1].offer(&ram, &[(&[0; 12], false)]);
    rings[1].offer(&ram, &[(&bytes, false)]);
    worker.notified(1).unwrap();
    assert_eq!(receive(&mut peer), frame);
    assert_eq!(receive(&mut peer), frame);
    assert_eq!(rings[1].used(&ram), [0; 4]);
}

#[test]
fn test_a_frame_fills_as_many_buffers_as_it_needs() {
    let (_net, mut peer, ram, mut rings, mut worker) = network(1 << VIRTIO_NET_F_MRG_RXBUF);
    let frame: Vec<u8> = (0..200).collect();
    send(&mut peer, &frame);
    let buffers: Vec<_> = (0..2).map(|_| rings[0].offer(&ram, &[(&[0; 80], true)])).collect();
    // The buffers are too small, so the frame waits.
    worker.ready(BACKEND).unwrap();
    assert_eq!(rings[0].used(&ram), [0; 0]);
    let last = rings[0].offer(&ram, &[(&[0; 80], true)]);
    worker.notified(0).unwrap();
    assert_eq!(rings[0].used(&ram), [80, 80, 52]);
    let bytes: Vec<u8> = buffers.iter().chain([&last]).flat_map(|buffer| buffer.read(&ram)).collect();
    assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    assert_eq!(bytes[12..212], frame);
}

#[test]
fn test_without_mergeable_buffers_a_frame_that_does_not_fit_is_lost() {
    let (_net, mut peer, ram, mut rings, mut worker) = network(0);
    rings[0].offer(&ram, &[(&[0; 64], true)]);
    send(&mut peer, &[7; 60]);
    send(&mut peer, &[8; 52]);
    worker.ready(BACKEND).unwrap();
    assert_eq!(rings[0].used(&ram), [64]);
}

#[test]
fn test_a_call_ends_after_enough_descriptors() {
    const TABLE: u64 = 0x2_0000;
    let (_net, mut peer, ram, _rings, mut worker) = network(1 << VIRTIO_NET_F_MRG_RXBUF);
    // Each of the 16 chains has 256 buffers of a byte, so no frame fits, and each frame takes all chains.
    for descriptor in 0..256_u16 {
        let (address, flags) = (TABLE + 0x2000 + u64::from(descriptor), if descriptor < 255 { 3_u16 } else { 2 });
        let rest = [flags.to_le_bytes(), (descriptor + 1).to_le_bytes()].concat();
        let raw = [&address.to_le_bytes()[..], &1_u32.to_le_bytes(), &rest].concat();
        ram.write_slice(&raw, GuestAddress(TABLE + 16 * u64::from(descriptor))).unwrap();
    }
    for head in 0..16_u16 {
        let raw = [&TABLE.to_le_bytes()[..], &(16 * 256_u32).to_le_bytes(), &[4, 0, 0, 0]].concat();
        ram.write_slice(&raw, GuestAddress(16 * u64::from(head))).unwrap();
        ram.write_obj(head, GuestAddress(0x404 + 2 * u64::from(head))).unwrap();
    }
    ram.write_obj(16_u16, GuestAddress(0x402)).unwrap();
    (0..16).for_each(|_| send(&mut peer, &[7; 5000]));
    let _ = testing::take_work();
    worker.ready(BACKEND).unwrap();
    let descriptors = testing::take_work().descriptors;
    assert!((16 << 10..=(16 << 10) + 16 * 256).contains(&descriptors), "{descriptors}");
    assert!(worker.unfinished().is_some());
}

#[test]
fn test_a_receive_buffer_without_room_is_a_driver_error() {
    let (_net, mut peer, ram, mut rings, mut worker) = network(1 << VIRTIO_NET_F_MRG_RXBUF);
    for (buffer, writable) in [(&[0; 8][..], false), (&[], true)] {
        rings[0].offer(&ram, &[(buffer, writable)]);
        send(&mut peer, &[7; 60]);
        let Err(WorkerError::Driver(_)) = worker.ready(BACKEND) else { panic!("the buffer was accepted") };
    }
}

#[test]
fn test_a_peer_that_goes_takes_the_link_down() {
    let (net, peer, _ram, _rings, mut worker) = network(0);
    drop(peer);
    worker.ready(BACKEND).unwrap();
    let mut status = [0xff; 2];
    net.read_config(6, &mut status);
    assert_eq!(status, [0, 0]);
    let mut sources = Sources::new();
    worker.sources(&mut sources);
    assert!(sources.is_empty(), "nothing to wait for");
}

#[test]
fn test_a_peer_that_breaks_the_framing_takes_the_link_down() {
    for len in [0_u32, u32::MAX] {
        let (net, mut peer, _ram, _rings, mut worker) = network(0);
        peer.write_all(&len.to_be_bytes()).unwrap();
        worker.ready(BACKEND).unwrap();
        assert_eq!(net.config()[6], 0);
    }
}

#[test]
fn test_a_reader_that_does_not_read_loses_nothing_and_stalls_only_the_network() {
    let (_net, mut peer, ram, mut rings, mut worker) = network(0);
    let frame = [&[0; 12], [9; 1500].as_slice()].concat();
    let mut sent = 0;
    // Sends until the socket is full.
    loop {
        rings[1].offer(&ram, &[(&frame, false)]);
        worker.notified(1).unwrap();
        if rings[1].used(&ram).is_empty() {
            break;
        }
        sent += 1;
        assert!(sent < 10_000);
    }
    // Only a part of the last frame has been written.
    for _ in 1..sent {
        assert_eq!(receive(&mut peer).len(), 1500);
    }
    worker.ready(BACKEND).unwrap();
    for _ in 0..2 {
        assert_eq!(receive(&mut peer).len(), 1500);
    }
}

#[test]
fn test_invalid_addresses_are_refused() {
    let refused = |mac, mtu| {
        let (_, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let backend = Backend::stream(theirs).unwrap();
        Net::new(NetConfig { backend, mac, mtu, throttle: ThrottleConfig::default() }).unwrap_err().to_string()
    };
    assert!(refused([1, 0, 0, 0, 0, 0], None).contains("even"));
    assert!(refused([0; 6], None).contains("not all bytes 0"));
    assert!(refused(MAC, Some(67)).contains("68"));
}

#[test]
fn test_a_tap_interface_with_an_invalid_name_is_refused() {
    for name in ["", "no-such-name-that-long", "a%d", "%s"] {
        let error = Backend::tap(&Tap::Existing(name.into())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot open the tap interface '{name}'")), "{error}");
    }
    for name in ["", "a%d%d", "%s"] {
        let error = Backend::tap(&Tap::New(name.into())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot create the tap interface '{name}'")), "{error}");
    }
}

#[test]
fn test_the_path_of_a_stream_socket_is_at_most_107_bytes() {
    let path = "x".repeat(108);
    let error = Backend::connect(Path::new(&path), &Cancel::default()).unwrap_err().to_string();
    assert!(error.ends_with("is too long for a socket: expected at most 107 bytes, got 108"), "{error}");
}

#[test]
fn test_an_invalid_ring_is_a_driver_error() {
    let (_net, _peer, ram, mut rings, mut worker) = network(0);
    rings[1].corrupt(&ram);
    let Err(WorkerError::Driver(DriverError(why))) = worker.notified(1) else { panic!("the ring was followed") };
    assert!(why.contains("available ring"), "{why}");
}

/// A listener that accepts nothing, with a full backlog.
struct Full {
    path: std::path::PathBuf,
    listener: OwnedFd,
    /// The connection that fills the backlog.
    _first: UnixStream,
}

impl Full {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kvm-accel-net-{name}-{}", std::process::id()));
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        Self { path, listener, _first }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn test_a_listener_that_accepts_nothing_is_an_error_after_a_while() {
    let full = Full::new("silent");
    let patience = Duration::from_millis(20);
    let error = Backend::connect_within(patience, &full.path, &Cancel::default()).unwrap_err().to_string();
    assert!(error.contains("has accepted no connection for 20ms, and its backlog is full"), "{error}");
    let missing = Backend::connect(Path::new("/no/such/socket"), &Cancel::default()).unwrap_err().to_string();
    assert!(missing.starts_with("no process answers at the socket '/no/such/socket': No such file"), "{missing}");
}

#[test]
fn test_a_connection_waits_until_there_is_room_in_the_backlog() {
    let full = Full::new("late");
    let path = full.path.clone();
    let connecting = std::thread::spawn(move || Backend::connect(&path, &Cancel::default()));
    let _accepted = [(); 2].map(|()| rustix::net::accept(&full.listener).unwrap());
    assert!(connecting.join().unwrap().is_ok());
}

#[test]
fn test_waiting_for_room_in_a_backlog_ends_when_it_is_cancelled() {
    let full = Full::new("cancelled");
    let (path, cancel) = (full.path.clone(), Cancel::default());
    let connecting = std::thread::spawn({
        let cancel = cancel.clone();
        move || Backend::connect_within(Duration::from_secs(600), &path, &cancel)
    });
    cancel.cancel();
    assert_eq!(connecting.join().unwrap().unwrap_err(), SetupError::Cancelled(Cancelled));
}
