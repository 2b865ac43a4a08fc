use super::control::ToDriver;
use super::*;
use crate::virtio::interface::testing::{self, Buffer, Ring, driver};
use kvm_accel::GuestRam;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const ALL: u64 = FEATURE_SIZE | FEATURE_MULTIPORT;

/// A device with its worker, driver and host's ends.
struct Bench {
    device: Console,
    ram: GuestRam,
    rings: Vec<Ring>,
    worker: Box<dyn Worker>,
    hosts: Vec<UnixStream>,
}

impl Bench {
    fn new(kinds: &[PortKind], features: u64) -> Self {
        let (ports, hosts): (Vec<_>, Vec<_>) = kinds
            .iter()
            .map(|kind| {
                let (ours, theirs) = UnixStream::pair().unwrap();
                theirs.set_nonblocking(true).unwrap();
                ((kind.clone(), HostEnd::stream(ours)), theirs)
            })
            .unzip();
        let device = Console::new(ports).unwrap();
        let (ram, driver) = driver(&device, device.features() & features).unwrap();
        let rings = (0..device.queues().len() as u64).map(|queue| Ring::new(&ram, queue)).collect();
        let worker = device.activate(driver);
        Self { device, ram, rings, worker, hosts }
    }

    /// Offers buffers to the device, and notifies the worker.
    fn offer(&mut self, queue: usize, buffers: &[(&[u8], bool)]) -> Buffer {
        let buffer = self.rings[queue].offer(&self.ram, buffers);
        self.worker.notified(queue).unwrap();
        buffer
    }

    /// Polls the worker's sources once, and serves those that are ready.
    fn poll(&mut self) -> usize {
        testing::serve(&mut *self.worker, Some(Duration::ZERO)).unwrap()
    }

    fn output(&mut self, port: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        // The read ends with EAGAIN.
        let _ = self.hosts[port].read_to_end(&mut bytes);
        bytes
    }

    /// Returns the next control message of the device.
    fn message(&mut self) -> Option<Vec<u8>> {
        let buffer = self.rings[2].offer(&self.ram, &[(&[0; 64], true)]);
        self.worker.notified(2).unwrap();
        let written = self.rings[2].used(&self.ram);
        let len = usize::try_from(*written.first()?).unwrap();
        Some(buffer.read(&self.ram)[..len].to_vec())
    }
}

/// Encodes a control message of a driver.
fn message(id: u32, event: u16, value: u16) -> Vec<u8> {
    [&id.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat()
}

#[test]
fn test_one_terminal_has_its_bytes_without_messages() {
    let mut bench = Bench::new(&[PortKind::Console], ALL);
    assert_eq!((bench.device.queues().len(), bench.device.features()), (2, FEATURE_SIZE));
    bench.offer(1, &[(b"from ", false), (b"the guest", false)]);
    assert_eq!((bench.output(0), bench.rings[1].used(&bench.ram)), (b"from the guest".to_vec(), vec![0]));
    bench.hosts[0].write_all(b"keys").unwrap();
    let buffer = bench.offer(0, &[(&[0; 3], true)]);
    assert_eq!(bench.rings[0].used(&bench.ram), [3]);
    assert_eq!(buffer.read(&bench.ram), b"key");
    assert_eq!(bench.poll(), 0, "without a receive buffer, the worker does not wait for input");
    bench.offer(0, &[(&[0; 3], true)]);
    assert_eq!(bench.rings[0].used(&bench.ram), [1]);
    bench.offer(0, &[(&[0; 8], true)]);
    bench.hosts[0].write_all(b"more").unwrap();
    assert_eq!((bench.poll(), bench.rings[0].used(&bench.ram)), (1, vec![4]));
}

#[test]
fn test_reader_that_does_not_read_stalls_the_guest_and_loses_nothing() {
    let mut bench = Bench::new(&[PortKind::Console], ALL);
    let mut sent = 0;
    while bench.rings[1].used(&bench.ram).len() == usize::from(sent != 0) {
        bench.offer(1, &[(&[b'x'; 2048], false)]);
        sent += 2048;
        assert!(sent < 64 << 20, "the socket takes everything");
    }
    assert_eq!(bench.poll(), 0);
    let mut output = bench.output(0).len();
    assert!(output < sent && output > 0);
    while bench.poll() > 0 {
        output += bench.output(0).len();
    }
    assert_eq!(output, sent);
    assert_eq!(bench.rings[1].used(&bench.ram).len(), 1);
}

#[test]
fn test_a_closed_reader_stalls_no_port() {
    let mut bench = Bench::new(&[PortKind::Console], ALL);
    bench.hosts.clear();
    bench.offer(1, &[(b"unread", false)]);
    assert_eq!(bench.rings[1].used(&bench.ram), [0]);
    bench.offer(0, &[(&[0; 8], true)]);
    assert_eq!((bench.poll(), bench.poll(), bench.rings[0].used(&bench.ram).len()), (0, 0, 0));
}

#[test]
fn test_driver_receives_its_ports_and_reports_the_open_ones() {
    let agent = PortKind::Channel { name: "org.example.agent".into() };
    let mut bench = Bench::new(&[PortKind::Console, agent], ALL);
    assert_eq!((bench.device.queues().len(), bench.device.features()), (6, ALL));
    bench.device.resize(0, Size { columns: 80, rows: 25 });
    bench.offer(3, &[(&message(u32::MAX, 0, 1), false)]);
    assert_eq!(bench.message(), Some(ToDriver::Add.to_bytes(0)));
    assert_eq!(bench.message(), Some(ToDriver::Add.to_bytes(1)));
    bench.offer(3, &[(&message(0, 3, 1), false)]);
    assert_eq!(bench.message(), Some(ToDriver::Console.to_bytes(0)));
    assert_eq!(bench.message(), Some(ToDriver::Resize(Size { columns: 80, rows: 25 }).to_bytes(0)));
    assert_eq!(bench.message(), Some(ToDriver::Open.to_bytes(0)));
    bench.offer(3, &[(&message(1, 3, 1), false)]);
    assert_eq!(bench.message(), Some(ToDriver::Name("org.example.agent").to_bytes(1)));
    assert_eq!(bench.message(), Some(ToDriver::Open.to_bytes(1)));

    // No program of the guest has the channel open: input waits.
    bench.hosts[1].write_all(b"early").unwrap();
    bench.offer(4, &[(&[0; 16], true)]);
    bench.poll();
    assert!(bench.rings[4].used(&bench.ram).is_empty());
    bench.offer(3, &[(&message(1, 6, 1), false)]);
    assert_eq!((bench.poll(), bench.rings[4].used(&bench.ram)), (1, vec![5]));
    bench.offer(5, &[(b"answer", false)]);
    assert_eq!(bench.output(1), b"answer");

    bench.device.resize(0, Size { columns: 132, rows: 43 });
    bench.device.resize(1, Size { columns: 1, rows: 1 });
    bench.poll();
    bench.device.resize(0, Size { columns: 100, rows: 30 });
    bench.poll();
    let newest = ToDriver::Resize(Size { columns: 100, rows: 30 }).to_bytes(0);
    assert_eq!((bench.message(), bench.message()), (Some(newest), None));
}

#[test]
fn test_channels_alone_leave_port_0_out() {
    let mut bench = Bench::new(&[PortKind::Channel { name: "one".into() }], ALL);
    assert_eq!(bench.device.queues().len(), 6);
    let mut config = [0; 12];
    bench.device.read_config(0, &mut config);
    assert_eq!(config, [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    bench.offer(3, &[(&message(0, 0, 1), false)]);
    assert_eq!(bench.message(), Some(ToDriver::Add.to_bytes(1)));
    bench.offer(1, &[(b"to no port", false)]);
    assert!(bench.rings[1].used(&bench.ram).is_empty());
}

#[test]
fn test_driver_that_sends_messages_without_end_waits_for_its_own_buffers() {
    let mut bench = Bench::new(&[PortKind::Console, PortKind::Console], ALL);
    let mut offered = 0;
    loop {
        bench.offer(3, &[(&message(0, 0, 1), false)]);
        offered += 1;
        assert!(offered < 1000);
        if bench.rings[3].used(&bench.ram).is_empty() {
            break;
        }
    }
    assert!((0..64).all(|_| bench.message().is_some()));
    assert_eq!(bench.rings[3].used(&bench.ram).len(), 1);
}

#[test]
fn test_invalid_control_messages_change_nothing() {
    let mut bench = Bench::new(&[PortKind::Console, PortKind::Console], ALL);
    for message in [message(7, 3, 1), message(u32::MAX, 6, 1), message(0, 99, 1), message(0, 0, 0), vec![1, 2, 3]] {
        bench.offer(3, &[(&message, false)]);
    }
    assert_eq!((bench.message(), bench.rings[3].used(&bench.ram).len()), (None, 5));
}

#[test]
fn test_terminal_without_messages_has_its_size_in_the_configuration() {
    let mut bench = Bench::new(&[PortKind::Console], ALL);
    bench.device.resize(0, Size { columns: 0x102, rows: 0x304 });
    assert_eq!(bench.poll(), 1);
    let mut config = [0; 4];
    bench.device.read_config(0, &mut config);
    assert_eq!(config, [2, 1, 4, 3]);
}

#[test]
fn test_number_of_ports_is_limited() {
    let port = || (PortKind::Console, HostEnd::null(UnixStream::pair().unwrap().0));
    assert_eq!(Console::new(vec![]).unwrap_err().option(), "consoles");
    assert!(Console::new((0..MAX_PORTS).map(|_| port()).collect()).is_ok());
    assert!(Console::new((0..=MAX_PORTS).map(|_| port()).collect()).is_err());
}

#[test]
fn output_to_an_unread_terminal_does_not_block_and_is_not_lost() {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    // A terminal in blocking mode, like standard output.
    let terminal = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let (socket, _theirs) = UnixStream::pair().unwrap();
    let mut end = HostEnd::file(socket, terminal.into());
    let (sent, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut written = 0;
        while let Some(taken) = end.write(&[b'x'; 4096]) {
            written += taken;
        }
        sent.send((written, end)).unwrap();
    });
    let (written, mut end) = done.recv_timeout(std::time::Duration::from_secs(60)).expect("a write blocks");
    assert!(written > 0);
    let mut master = std::fs::File::from(master);
    let mut bytes = vec![0; written];
    master.read_exact(&mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == b'x'));
    assert_eq!(end.write(b"y"), Some(1));
}
