#![allow(clippy::unwrap_used)]
use super::*;
use crate::MachineConfigError;
use crate::scratch::Scratch;
use kvm_accel::cancel::Cancelled;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Barrier;

fn names(folder: &Scratch) -> Vec<OsString> {
    std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

fn try_listen(path: &Path) -> Result<HostSocket, ListenError> {
    loop {
        if let Some(socket) = HostSocket::try_listen(path, 64)? {
            return Ok(socket);
        }
    }
}

#[test]
fn test_a_socket_is_there_while_it_listens() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    for _ in 0..2 {
        let socket = try_listen(&path).unwrap();
        assert_eq!(names(&folder), ["socket"]);
        let _client = UnixStream::connect(&path).unwrap();
        assert!(rustix::net::accept(socket.listener()).is_ok());
        let error = try_listen(&path).unwrap_err();
        assert_eq!(error.why, "is in use: another process listens at it");
        drop(socket);
        assert!(names(&folder).is_empty());
    }
}

#[test]
fn test_a_listener_with_a_full_backlog_is_in_use() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    let listener = stream().unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert_eq!(try_listen(&path).unwrap_err().why, "is in use: another process listens at it");
}

#[test]
fn test_only_a_socket_that_refuses_connections_is_replaced() {
    let folder = Scratch::new();
    let path = folder.path().join("path");
    // The standard library leaves the socket behind, like a process that is killed.
    drop(UnixListener::bind(&path).unwrap());
    drop(try_listen(&path).unwrap());
    assert!(names(&folder).is_empty());

    std::fs::write(&path, "precious").unwrap();
    assert_eq!(try_listen(&path).unwrap_err().why, "is a regular file, not a socket");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(try_listen(&link).unwrap_err().why, "is a symbolic link, not a socket");
    assert_eq!(try_listen(folder.path()).unwrap_err().why, "is a directory");
    let datagrams = folder.path().join("datagrams");
    let _datagrams = std::os::unix::net::UnixDatagram::bind(&datagrams).unwrap();
    assert!(try_listen(&datagrams).unwrap_err().why.starts_with("is a socket that does not accept connections"));
    let mut names = names(&folder);
    names.sort();
    assert_eq!(names, ["datagrams", "link", "path"]);
}

#[test]
fn test_only_the_own_socket_is_removed_at_the_end() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    let socket = try_listen(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert_eq!(names(&folder), ["socket"]);
}

#[test]
fn test_of_many_that_start_at_once_one_gets_the_path_and_keeps_it() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    for round in 0..50 {
        if round % 2 == 0 {
            drop(UnixListener::bind(&path).unwrap());
        }
        let barrier = Barrier::new(8);
        let results: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                try_listen(&path)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (sockets, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((sockets.len(), errors.len()), (1, 7), "{errors:?}");
        assert!(errors.iter().all(|error| error.as_ref().unwrap_err().why.starts_with("is in use")), "{errors:?}");
        let socket = sockets.into_iter().next().unwrap().unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        // The processes that checked the path have also connected, and have hung up.
        let heard = |accepted| UnixStream::from(accepted).read(&mut [0]).unwrap() == 1;
        while !heard(rustix::net::accept(socket.listener()).unwrap()) {}
        assert_eq!(names(&folder), ["socket"]);
    }
}

#[test]
fn test_a_locked_directory_is_waited_for_until_it_is_cancelled() {
    let folder = Scratch::new();
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path).unwrap());
    let directory = openat(CWD, folder.path(), OFlags::PATH, Mode::empty()).unwrap();
    let held = lock(&directory).unwrap().unwrap();
    assert!(HostSocket::try_listen(&path, 8).unwrap().is_none());
    let cancel = Cancel::default();
    let refuse = |error: ListenError| MachineConfigError::new("serial", error.why, error.remedy);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| HostSocket::listen(&path, 8, &cancel, refuse));
        cancel.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err(), SetupError::Cancelled(Cancelled));
        let waiting = scope.spawn(|| HostSocket::listen(&path, 8, &Cancel::default(), refuse));
        drop(held);
        assert!(waiting.join().unwrap().is_ok());
    });
}

#[test]
fn test_paths_are_as_long_as_addresses() {
    let folder = Scratch::new();
    let longest = 107 - folder.path().as_os_str().len() - 1;
    let path = folder.path().join("x".repeat(longest));
    let socket = try_listen(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    drop(socket);
    let error = try_listen(&folder.path().join("x".repeat(longest + 1))).unwrap_err();
    assert_eq!(error.why, "is too long for a socket: expected at most 107 bytes, got 108");
    assert!(try_listen(&folder.path().join("missing/socket")).unwrap_err().why.contains("No such file or directory"));
    assert_eq!(try_listen(Path::new("/")).unwrap_err().why, "has no file name");
}
