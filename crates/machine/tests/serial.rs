//! Tests COM1: no byte is lost, no thread spins, and no thread waits that must continue.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{Irq, SERIAL_INPUT_CAPACITY, SerialOutput, SerialPort};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
const INTERRUPT_ID: u64 = 2;
const LINE_CONTROL: u64 = 3;
const MODEM_CONTROL: u64 = 4;
const LINE_STATUS: u64 = 5;

fn port(output: SerialOutput) -> SerialPort {
    SerialPort::new(Irq::none(), output, None)
}

fn read(port: &SerialPort, register: u64) -> u8 {
    let mut byte = [0];
    port.read(register, &mut byte);
    byte[0]
}

fn transmit(port: &SerialPort, bytes: impl IntoIterator<Item = u8>) {
    for byte in bytes {
        assert_eq!(port.write(DATA, &[byte]), None);
    }
}

/// Returns the bytes that the guest reads while the line status reports data.
fn receive(port: &SerialPort) -> Vec<u8> {
    std::iter::from_fn(|| (read(port, LINE_STATUS) & 1 != 0).then(|| read(port, DATA))).collect()
}

fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

#[test]
fn output_arrives_in_order() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let port = port(SerialOutput::socket(ours).unwrap());
    transmit(&port, *b"hello");
    port.write(DATA, b"!");
    drop(port);
    let mut text = String::new();
    theirs.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello!");
}

#[test]
fn wide_accesses_are_one_register_each() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let port = port(SerialOutput::socket(ours).unwrap());
    port.write(DATA, &[b'x', 1]);
    assert_eq!(read(&port, INTERRUPT_ENABLE), 1);
    let mut wide = [0; 4];
    port.read(LINE_CONTROL, &mut wide);
    assert_eq!(wide, [3, 8, 0x60, 0xb0]);
    drop(port);
    let mut text = String::new();
    theirs.read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}

#[test]
fn the_divisor_and_loopback_are_not_output() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let port = port(SerialOutput::socket(ours).unwrap());
    port.write(LINE_CONTROL, &[0x80]);
    port.write(DATA, &[1, 0]);
    port.write(LINE_CONTROL, &[3]);
    port.write(MODEM_CONTROL, &[0x10]);
    transmit(&port, *b"loop");
    assert_eq!(receive(&port), b"loop");
    drop(port);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

#[test]
fn files_pipes_and_null_are_outputs() {
    let path = std::env::temp_dir().join(format!("kvm-accel-serial-{}", std::process::id()));
    let file = SerialOutput::file(File::create(&path).unwrap()).unwrap();
    transmit(&port(file), counting(1000));
    assert_eq!(std::fs::read(&path).unwrap(), counting(1000));
    std::fs::remove_file(&path).unwrap();

    let (mut reader, writer) = io::pipe().unwrap();
    let pipe = SerialOutput::file(OwnedFd::from(writer).into()).unwrap();
    transmit(&port(pipe), counting(1000));
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, counting(1000));

    transmit(&port(SerialOutput::null()), counting(1000));
}

/// Returns a socket and a blocking pipe, each with its reading end.
fn slow_outputs() -> [(SerialOutput, Box<dyn Read + Send>); 2] {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    [
        (SerialOutput::socket(ours).unwrap(), Box::new(theirs)),
        (SerialOutput::file(OwnedFd::from(writer).into()).unwrap(), Box::new(reader)),
    ]
}

#[test]
fn a_slow_reader_gets_every_byte() {
    const LEN: usize = 300_000;
    for (output, mut reader) in slow_outputs() {
        let port = Arc::new(port(output));
        let guest = thread::spawn({
            let port = Arc::clone(&port);
            move || transmit(&port, counting(LEN))
        });
        let mut bytes = vec![0; LEN];
        thread::sleep(Duration::from_millis(20));
        reader.read_exact(&mut bytes).unwrap();
        guest.join().unwrap();
        assert_eq!(bytes, counting(LEN));
    }
}

#[test]
fn an_interruption_ends_the_wait_for_a_reader_and_loses_nothing() {
    const LEN: usize = 300_000;
    for (output, mut reader) in slow_outputs() {
        let port = Arc::new(port(output));
        let written = Arc::new(AtomicUsize::new(0));
        let guest = thread::spawn({
            let (port, written) = (Arc::clone(&port), Arc::clone(&written));
            move || {
                for byte in counting(LEN) {
                    port.write(DATA, &[byte]);
                    written.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        // Without a reader the guest blocks, until output no longer waits.
        let stuck_at = loop {
            let before = written.load(Ordering::Relaxed);
            thread::sleep(Duration::from_millis(50));
            if before > 0 && before == written.load(Ordering::Relaxed) {
                break before;
            }
        };
        assert!(stuck_at < LEN);
        port.interrupt();
        guest.join().unwrap();
        assert!(!port.flush_pending());

        // Kept bytes are written in order: as many as there is room for at once, the rest with the next byte.
        port.resume();
        let receiver = thread::spawn(move || {
            let mut bytes = vec![0; LEN + 1];
            reader.read_exact(&mut bytes).unwrap();
            bytes
        });
        transmit(&port, [counting(LEN + 1)[LEN]]);
        assert!(port.flush_pending());
        assert_eq!(receiver.join().unwrap(), counting(LEN + 1));
    }
}

#[test]
fn kept_output_goes_out_when_the_machine_resumes() {
    for (output, mut reader) in slow_outputs() {
        let port = port(output);
        port.interrupt();
        transmit(&port, counting(70_000));
        let mut bytes = vec![0; 70_000];
        // The emptied reader's end has room for some of the kept bytes, and the guest transmits no more.
        let mut read = reader.read(&mut bytes).unwrap();
        while read < bytes.len() {
            port.resume();
            let more = reader.read(&mut bytes[read..]).unwrap();
            assert!(more > 0);
            read += more;
        }
        assert_eq!(bytes, counting(70_000));
    }
}

#[test]
fn input_never_waits_for_output() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let port = Arc::new(port(SerialOutput::socket(ours).unwrap()));
    let guest = thread::spawn({
        let port = Arc::clone(&port);
        move || transmit(&port, counting(300_000))
    });
    thread::sleep(Duration::from_millis(50));
    assert_eq!(port.input(b"typed while the output is stuck"), 31);
    drop(theirs);
    guest.join().unwrap();
    assert_eq!(receive(&port), b"typed while the output is stuck");
}

#[test]
fn a_closed_reader_does_not_stop_the_guest() {
    for (output, reader) in slow_outputs() {
        drop(reader);
        let port = port(output);
        transmit(&port, counting(300_000));
        assert!(port.flush_pending());
    }
}

#[test]
fn input_beyond_the_fifo_waits_its_turn() {
    let port = port(SerialOutput::null());
    let bytes = counting(10_000);
    assert_eq!(port.input(&bytes[..100]), 100);
    assert_eq!(port.input(&bytes[100..]), 9_900);
    assert_eq!(receive(&port), bytes);
    assert_eq!(read(&port, LINE_STATUS) & 1, 0);
}

#[test]
fn input_is_bounded_and_reports_new_room() {
    let drained = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&drained);
    let drain = Box::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let port = SerialPort::new(Irq::none(), SerialOutput::null(), Some(drain));
    let bytes = counting(SERIAL_INPUT_CAPACITY + 1000);
    let accepted = port.input(&bytes);
    // Meanwhile the FIFO has taken 64 bytes out of the queue.
    assert_eq!(accepted, SERIAL_INPUT_CAPACITY);
    assert_eq!(port.input(&bytes[accepted..]), 64);
    assert_eq!(port.input(b"full"), 0);
    let first: Vec<_> = (0..64).map(|_| read(&port, DATA)).collect();
    assert_eq!(first, &bytes[..64]);
    assert_eq!(drained.load(Ordering::Relaxed), 0);
    assert_eq!(receive(&port).len(), SERIAL_INPUT_CAPACITY);
    assert_eq!(drained.load(Ordering::Relaxed), 1);
    port.input(b"more");
    assert_eq!(receive(&port), b"more");
    assert_eq!(drained.load(Ordering::Relaxed), 1);
}

#[test]
fn interrupts_are_raised_for_input_and_for_room_to_transmit() {
    let fd = EventFd::new(EFD_NONBLOCK).unwrap();
    let line = fd.try_clone().unwrap();
    let port = SerialPort::new(Irq::edge(move || line.write(1).unwrap()), SerialOutput::null(), None);
    port.input(b"before the driver is there");
    assert!(fd.read().is_err());
    port.write(INTERRUPT_ENABLE, &[1]);
    assert_eq!(fd.read().unwrap(), 1);
    assert_eq!(read(&port, INTERRUPT_ID) & 0xf, 4);
    receive(&port);
    port.input(&[0; 200]);
    // One interrupt for each FIFO of bytes, not one for each byte.
    assert_eq!(fd.read().unwrap(), 1);
    assert_eq!(receive(&port).len(), 200);
    assert_eq!(fd.read().unwrap(), 3);
    port.write(INTERRUPT_ENABLE, &[2]);
    assert_eq!(fd.read().unwrap(), 1);
    assert_eq!(read(&port, INTERRUPT_ID) & 0xf, 2);
    transmit(&port, *b"x");
    assert_eq!(fd.read().unwrap(), 1);
}

#[test]
fn a_reset_restores_registers_and_keeps_input() {
    let port = port(SerialOutput::null());
    port.write(INTERRUPT_ENABLE, &[0xf]);
    port.write(LINE_CONTROL, &[0x80]);
    port.input(&counting(200));
    port.reset();
    assert_eq!((read(&port, INTERRUPT_ENABLE), read(&port, LINE_CONTROL)), (0, 3));
    assert_eq!(receive(&port), &counting(200)[64..]);
}
