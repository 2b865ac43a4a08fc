//! Guest I/O on files, pipes and io_uring.

use super::*;
use proptest::prelude::*;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vm_memory::Bytes;

const PAGE: u64 = 4096;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x10_0000), 0x4000)]).unwrap()
}

fn file(bytes: &[u8]) -> Arc<File> {
    let fd = rustix::fs::memfd_create("guest-io", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).unwrap();
    Arc::new(file)
}

fn pattern() -> Vec<u8> {
    (0..=255).cycle().take(3 * 4096).collect()
}

/// Returns a ring, or `None` if the kernel lacks io_uring, which fails on CI.
fn ring(ram: &GuestRam, file: &Arc<File>, entries: u16) -> Option<GuestRing> {
    match GuestRing::new(ram, file, entries) {
        Ok(ring) => Some(ring),
        Err(error) if std::env::var_os("CI").is_none() => {
            println!("skipped, because io_uring is unavailable: {error}");
            None
        }
        Err(error) => panic!("io_uring is unavailable: {error}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "the crate has no loop")]
fn wait(ring: &mut GuestRing) -> (u64, io::Result<u32>) {
    loop {
        if let Some(completion) = ring.completed() {
            return completion;
        }
        rustix::event::poll(&mut [rustix::event::PollFd::new(&*ring, rustix::event::PollFlags::IN)], None).unwrap();
    }
}

#[test]
fn ranges_are_filled_in_turn_and_an_early_end_of_the_file_is_reported() {
    let (ram, file) = (ram(), file(&pattern()));
    let ranges = [GuestRange { address: 0x10_0000, len: 100 }, GuestRange { address: 8, len: 5000 }];
    assert_eq!(read_at(&ram, &file, &ranges, 50).unwrap(), 5100);
    let mut bytes = [0; 5000];
    ram.read_slice(&mut bytes, GuestAddress(8)).unwrap();
    assert_eq!(bytes, pattern()[150..5150]);
    assert_eq!(read_at(&ram, &file, &ranges, 3 * PAGE - 20).unwrap(), 20);
}

#[test]
fn more_ranges_than_one_call_takes_are_several() {
    let (ram, file) = (ram(), file(&[]));
    let ranges = vec![GuestRange { address: 0, len: 2 }; 3000];
    ram.write_slice(b"ab", GuestAddress(0)).unwrap();
    assert_eq!(write_at(&ram, &file, &ranges, 0).unwrap(), 6000);
    assert_eq!(file.metadata().unwrap().len(), 6000);
}

#[test]
fn what_is_not_ram_is_a_bad_address() {
    let (ram, file) = (ram(), file(&pattern()));
    for (address, len) in [(0x4000, 1), (0x3fff, 2), (u64::MAX, 1), (0x10_0000, 0x4001)] {
        let ranges = [GuestRange { address, len }];
        assert_eq!(read_at(&ram, &file, &ranges, 0).unwrap_err().raw_os_error(), Some(libc::EFAULT));
        let Some(mut ring) = ring(&ram, &file, 4) else { continue };
        let error = ring.push(0, RingCall::Read { ranges: &ranges, offset: 0 }).unwrap_err();
        assert_eq!((error.raw_os_error(), ring.in_flight()), (Some(libc::EFAULT), 0));
    }
}

#[test]
fn a_ring_does_what_calls_do() {
    let (ram, file) = (ram(), file(&pattern()));
    let Some(mut ring) = ring(&ram, &file, 4) else { return };
    let ranges = [GuestRange { address: 0, len: 512 }, GuestRange { address: 0x10_0000, len: 512 }];
    ring.push(1, RingCall::Read { ranges: &ranges, offset: 512 }).unwrap();
    ring.submit().unwrap();
    let (token, read) = wait(&mut ring);
    assert_eq!((token, read.unwrap()), (1, 1024));
    ring.push(2, RingCall::Write { ranges: &ranges, offset: 3 * PAGE }).unwrap();
    ring.push(3, RingCall::Datasync).unwrap();
    ring.submit().unwrap();
    let mut tokens = [wait(&mut ring), wait(&mut ring)].map(|(token, result)| (token, result.unwrap()));
    tokens.sort_unstable();
    assert_eq!(tokens, [(2, 1024), (3, 0)]);
    let mut bytes = [0; 1024];
    std::os::unix::fs::FileExt::read_exact_at(&*file, &mut bytes, 3 * PAGE).unwrap();
    assert_eq!(bytes, pattern()[512..1536]);
}

#[test]
fn a_full_ring_refuses_calls_and_a_cancelled_one_as_well() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let ram = ram();
    let Some(mut ring) = ring(&ram, &Arc::new(File::from(reader)), 2) else { return };
    let ranges = [GuestRange { address: 0, len: 4 }];
    for token in 0..2 {
        ring.push(token, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
    }
    assert!(ring.is_full());
    let error = ring.push(2, RingCall::Datasync).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    ring.submit().unwrap();
    assert_eq!((ring.in_flight(), ring.in_memory()), (2, 2));
    let mut cancelled = Vec::new();
    let each = |token, result: io::Result<u32>| cancelled.push((token, result.unwrap_err().raw_os_error()));
    ring.cancel(Duration::from_secs(60), each).unwrap();
    cancelled.sort_unstable();
    assert_eq!(cancelled, [(0, Some(libc::ECANCELED)), (1, Some(libc::ECANCELED))]);
    assert_eq!((ring.in_flight(), ring.in_memory()), (0, 0));
    let error = ring.push(2, RingCall::Datasync).and_then(|()| ring.submit()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    // No call reads this data.
    rustix::io::write(&writer, b"late").unwrap();
    assert_eq!(ram.read_obj::<[u8; 4]>(GuestAddress(0)).unwrap(), [0; 4]);
}

#[test]
fn dropping_a_ring_cancels_what_is_in_flight() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (ram, reader) = (ram(), Arc::new(File::from(reader)));
    let Some(mut ring) = ring(&ram, &reader, 2) else { return };
    let ranges = [GuestRange { address: 0, len: 4 }];
    ring.push(0, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
    ring.submit().unwrap();
    // A call that was prepared but not submitted.
    ring.push(1, RingCall::Read { ranges: &ranges, offset: u64::MAX }).unwrap();
    drop(ring);
    rustix::io::write(&writer, b"late").unwrap();
    let mut bytes = [0; 4];
    std::io::Read::read_exact(&mut &*reader, &mut bytes).unwrap();
    assert_eq!((&bytes, ram.read_obj::<[u8; 4]>(GuestAddress(0)).unwrap()), (b"late", [0; 4]));
}

#[test]
fn tokens_that_do_not_fit_are_refused() {
    let (ram, file) = (ram(), file(&[]));
    let Some(mut ring) = ring(&ram, &file, 2) else { return };
    assert_eq!(ring.push(1 << 62, RingCall::Datasync).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    ring.push((1 << 62) - 1, RingCall::Datasync).unwrap();
    ring.submit().unwrap();
    assert_eq!(wait(&mut ring).0, (1 << 62) - 1);
}

proptest! {
    #[test]
    fn skipping_keeps_the_bytes_behind(lens in prop::collection::vec(0_u32..10, 0..10), skip in 0_u64..100) {
        let ranges: Vec<_> = lens.iter().map(|&len| GuestRange { address: 0, len }).collect();
        let rest: Vec<_> = behind(&ranges, skip).collect();
        prop_assert_eq!(total(&rest), total(&ranges).saturating_sub(skip));
        prop_assert!(rest.iter().all(|range| range.len > 0 && range.address < 10));
    }
}

#[test]
fn a_ring_that_is_dropped_releases_the_locks_of_its_file_at_once() {
    use kvm_accel_kvm::host::file_lock::{is_byte_locked, share_byte};
    let path = std::env::temp_dir().join(format!("kvm-accel-ring-lock-{}", std::process::id()));
    std::fs::write(&path, [0; 512]).unwrap();
    let other = File::open(&path).unwrap();
    for _ in 0..50 {
        let file = Arc::new(File::open(&path).unwrap());
        share_byte(&file, 100).unwrap();
        let ram = ram();
        let Some(mut ring) = ring(&ram, &file, 4) else { break };
        ring.push(0, RingCall::Read { ranges: &[GuestRange { address: 0, len: 512 }], offset: 0 }).unwrap();
        ring.submit().unwrap();
        wait(&mut ring).1.unwrap();
        assert!(is_byte_locked(&other, 100));
        drop((ring, file));
        assert!(!is_byte_locked(&other, 100));
    }
    std::fs::remove_file(&path).unwrap();
}
