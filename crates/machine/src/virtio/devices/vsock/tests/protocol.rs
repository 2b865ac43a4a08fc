//! Guests that violate the protocol.

use super::*;
use proptest::prelude::*;

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
