#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::virtio::interface::testing::{self, Ring};
use kvm_accel::GuestRam;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// A path that is deleted when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("kvm-accel-rng-{}-{name}", std::process::id())))
    }

    fn fifo(name: &str) -> Self {
        let this = Self::new(name);
        mknodat(CWD, &this.0, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        this
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Guest {
    ram: GuestRam,
    ring: Ring,
    worker: Box<dyn Worker>,
    stop: StopFlag,
}

fn guest(path: &std::path::Path) -> Guest {
    guest_of(&Rng::new(path, None).unwrap())
}

fn guest_of(rng: &Rng) -> Guest {
    let (ram, driver) = testing::driver(rng, 0).unwrap();
    let (ring, stop) = (Ring::new(&ram, 0), driver.stop.clone());
    Guest { ring, worker: rng.activate(driver), ram, stop }
}

impl Guest {
    /// Returns the number of the worker's sources that are ready.
    fn ready(&self) -> usize {
        testing::ready(&*self.worker, Some(Duration::ZERO)).len()
    }
}

#[test]
fn a_request_waits_while_a_fifo_has_no_writer_and_is_answered_when_bytes_come() {
    let fifo = Temporary::fifo("fifo");
    fifo_is_waited_for(&fifo, guest(&fifo.0));
}

#[test]
fn a_fifo_that_may_only_be_read_is_not_polled_while_it_has_no_writer() {
    let fifo = Temporary::fifo("read-only");
    let fd = rustix::fs::open(&fifo.0, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let source = Source::from_fd(fd).unwrap().unwrap();
    fifo_is_waited_for(&fifo, guest_of(&Rng::from_source(source, None).unwrap()));
}

fn fifo_is_waited_for(fifo: &Temporary, mut guest: Guest) {
    let buffer = guest.ring.offer(&guest.ram, &[(&[0; 8], true)]);
    for _ in 0..3 {
        guest.worker.notified(0).unwrap();
        assert_eq!((guest.ring.used(&guest.ram).len(), guest.ready()), (0, 0));
    }
    // Writers open and close the FIFO.
    for bytes in [b"abcd", b"efgh"] {
        std::fs::write(&fifo.0, bytes).unwrap();
        assert_eq!(guest.ready(), 1);
        guest.worker.ready(0).unwrap();
        assert_eq!(guest.ring.used(&guest.ram), [4]);
        guest.ring.offer(&guest.ram, &[(&[0; 8], true)]);
        // The end of the FIFO is read once.
        guest.worker.notified(0).unwrap();
        assert_eq!((guest.ring.used(&guest.ram).len(), guest.ready()), (0, 0));
    }
    assert_eq!(buffer.read(&guest.ram), b"abcd\0\0\0\0");
}

#[test]
fn a_regular_file_is_used_once_and_its_end_is_a_host_error() {
    let file = Temporary::new("file");
    std::fs::write(&file.0, b"abcdef").unwrap();
    let mut guest = guest(&file.0);
    let first = guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    let second = guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    guest.worker.notified(0).unwrap();
    assert_eq!((guest.ring.used(&guest.ram), guest.worker.unfinished()), (vec![4, 2], None));
    assert_eq!((first.read(&guest.ram), second.read(&guest.ram)), (b"abcd".to_vec(), b"ef\0\0".to_vec()));
    guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    let Err(WorkerError::Host(error)) = guest.worker.notified(0) else { panic!("the file has no end") };
    assert!(error.to_string().contains("end of file") && !error.is_transient(), "{error}");
    assert!(guest.ring.used(&guest.ram).is_empty());
}

#[test]
fn bytes_come_over_a_socket_until_its_other_end_closes_it() {
    let path = Temporary::new("socket");
    let listener = UnixListener::bind(&path.0).unwrap();
    let mut guest = guest(&path.0);
    let (mut other, _) = listener.accept().unwrap();
    guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    guest.worker.notified(0).unwrap();
    assert_eq!(guest.ready(), 0);
    other.write_all(b"ab").unwrap();
    guest.worker.ready(0).unwrap();
    assert_eq!(guest.ring.used(&guest.ram), [2]);
    other.set_nonblocking(true).unwrap();
    assert!(other.read(&mut [0]).is_err(), "nothing is asked for");
    drop(other);
    guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    assert!(matches!(guest.worker.notified(0), Err(WorkerError::Host(_))));
}

#[test]
fn sources_of_other_types_are_refused_without_waiting() {
    for path in ["/", "/nonexistent/source"] {
        let error = Rng::new(std::path::Path::new(path), None).unwrap_err();
        assert_eq!(error.option(), "rng");
    }
    // A listener with a full backlog.
    let path = Temporary::new("full");
    let listener = UnixListener::bind(&path.0).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut connected = Vec::new();
    let refused = loop {
        match Rng::new(&path.0, None) {
            Ok(rng) => connected.push(rng),
            Err(error) => break error,
        }
        assert!(connected.len() < 100);
    };
    assert!(refused.to_string().contains("cannot be opened"), "{refused}");
}

#[test]
fn a_flag_that_is_set_leaves_requests_for_later() {
    let mut guest = guest(std::path::Path::new("/dev/zero"));
    guest.ring.offer(&guest.ram, &[(&[0; 4], true)]);
    guest.stop.set_pause(true);
    guest.worker.notified(0).unwrap();
    assert_eq!((guest.ring.used(&guest.ram).len(), guest.worker.unfinished()), (0, Some(0)));
    guest.stop.set_pause(false);
    guest.worker.notified(0).unwrap();
    assert_eq!((guest.ring.used(&guest.ram), guest.worker.unfinished()), (vec![4], None));
}

#[test]
fn a_request_without_room_is_the_drivers_fault() {
    let mut guest = guest(std::path::Path::new("/dev/zero"));
    guest.ring.offer(&guest.ram, &[(&[0; 4], false)]);
    assert!(matches!(guest.worker.notified(0), Err(WorkerError::Driver(_))));
}
