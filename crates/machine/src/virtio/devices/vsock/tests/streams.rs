//! Connections between the guest, this process and programs of the host.

use super::*;

#[test]
fn test_a_guest_reaches_a_listener_of_this_process() {
    let (vsock, mut guest) = device();
    let listener = listen(&vsock, 52);
    let data = guest.connect(52);
    let Accepted { mut socket, port } = listener.accept().unwrap();
    assert_eq!(port, 1000);
    guest.send(data, b"ping");
    let mut received = [0; 4];
    socket.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"ping");
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
    let mut received = String::new();
    socket.read_to_string(&mut received).unwrap();
    assert_eq!(received, "answer");
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
    let mut received = [0; 2];
    program.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"hi");
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
