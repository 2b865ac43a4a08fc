//! Credit, and the limits of what a guest can use.

use super::*;

#[test]
fn test_a_host_that_does_not_read_holds_no_more_than_the_credit() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, .. } = listener.accept().unwrap();
    let chunk: Vec<u8> = (0..=255).cycle().take(32 << 10).collect();
    // The device forwards what the socket takes, and reports it in `fwd_cnt`. The rest waits in the device.
    let (mut sent, mut forwarded) = (0_u32, 0);
    while sent + chunk.len() as u32 <= forwarded + BUFFER {
        guest.send(data, &chunk);
        sent += chunk.len() as u32;
        while let Some((header, _)) = guest.receive() {
            assert_eq!((header.op, header.buf_alloc), (Op::CreditUpdate, BUFFER));
            forwarded = header.fwd_cnt;
        }
    }
    // All data arrives once the host reads.
    socket.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    for _ in 0..1000 {
        let _ = socket.read_to_end(&mut received);
        while let Some((header, _)) = guest.receive() {
            assert_eq!(header.op, Op::CreditUpdate);
        }
    }
    assert_eq!(received.len(), sent as usize);
    assert!(received.iter().zip((0..=255).cycle()).all(|(a, b)| *a == b));
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
    panic!("the guest can send without limit");
}

#[test]
fn test_what_a_guest_sent_before_it_closed_arrives() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, .. } = listener.accept().unwrap();
    let (mut sent, mut forwarded) = (0, 0);
    let chunk = vec![5; 32 << 10];
    while sent + chunk.len() as u32 <= forwarded + BUFFER {
        guest.send(data, &chunk);
        sent += chunk.len() as u32;
        while let Some((header, _)) = guest.receive() {
            forwarded = header.fwd_cnt;
        }
    }
    assert!(forwarded < sent);
    guest.send(Header { flags: NO_SEND | NO_RECEIVE, ..to(52, Op::Shutdown) }, &[]);
    guest.expect(Op::Reset);
    socket.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    while socket.read_to_end(&mut received).is_err() {
        guest.turn();
    }
    assert_eq!(received.len(), sent as usize);
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
