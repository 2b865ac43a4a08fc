//! RAM from each back end, and the end of a machine that loses its RAM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use kvm_accel::cancel::Cancel;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel::{AccelProperties, Event, EventSink, FaultKind, LossReason, Request, StopReason};
use kvm_accel_machine::board::{Board, BoardConfig, BoardError, FwCfgFiles};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat};
use kvm_accel_machine::devices::{DebugExit, RtcConfig};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::ram::{HugePages, RamBackend, RamSource, allocate};
use kvm_accel_machine::{ImageRole, MachineConfigError};
use std::fs::{File, read, write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{MIB, multiboot_guest};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion, VolatileMemory};

/// A temporary folder for a test. Dropping it removes the folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kvm-accel-ram-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, len: u64) -> PathBuf {
        let path = self.0.join(format!("ram-{len}"));
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn layout() -> RamLayout {
    RamLayout::new(2 * MIB).unwrap()
}

fn of(source: RamSource) -> RamBackend {
    RamBackend { source, ..Default::default() }
}

fn refused(backend: &RamBackend) -> MachineConfigError {
    allocate(&layout(), backend).unwrap_err()
}

/// Asserts that a byte in the middle of RAM reads back as written.
fn works(backend: &RamBackend) {
    let ram = allocate(&layout(), backend).unwrap();
    backend.populate(&ram, &Cancel::default()).unwrap();
    assert_eq!(ram.read_obj::<u64>(GuestAddress(MIB)).unwrap(), 0);
    ram.write_obj(0x1122u64, GuestAddress(MIB)).unwrap();
    assert_eq!((ram.read_obj::<u64>(GuestAddress(MIB)).unwrap(), ram.find_loss()), (0x1122, None));
}

#[test]
fn test_every_back_end_is_memory_of_zeros() {
    let folder = Folder::new();
    for share in [false, true] {
        for prealloc in [false, true] {
            for source in [
                RamSource::Anonymous(None),
                RamSource::Memfd(None),
                RamSource::File(folder.0.clone()),
                RamSource::File(folder.0.join(format!("new-{share}-{prealloc}"))),
            ] {
                works(&RamBackend { source, share, prealloc, no_dump: false });
            }
        }
    }
    let names: Vec<_> = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "unnamed files have no names: {names:?}");
}

#[test]
fn test_ram_around_the_hole_is_one_file() {
    let folder = Folder::new();
    let (path, size) = (folder.0.join("ram"), 3 << 30 | 4 << 20);
    let layout = RamLayout::new(size).unwrap();
    let ram = allocate(
        &layout,
        &RamBackend { source: RamSource::File(path.clone()), share: true, prealloc: false, no_dump: false },
    )
    .unwrap();
    ram.write_obj(0x77u8, GuestAddress(1 << 32)).unwrap();
    let file = File::open(&path).unwrap();
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, 3 << 30).unwrap();
    assert_eq!((byte, file.metadata().unwrap().len()), ([0x77], size));
}

#[test]
fn test_only_a_shared_file_is_written() {
    let folder = Folder::new();
    for (share, expected) in [(false, 0), (true, 0x5a)] {
        let path = folder.file(2 * MIB);
        let ram = allocate(
            &layout(),
            &RamBackend { source: RamSource::File(path.clone()), share, prealloc: false, no_dump: false },
        )
        .unwrap();
        ram.write_obj(0x5au8, GuestAddress(0x1234)).unwrap();
        assert_eq!(read(&path).unwrap()[0x1234], expected);
    }
}

#[test]
fn test_a_memfd_cannot_be_truncated() {
    let ram = allocate(&layout(), &RamBackend { share: true, ..of(RamSource::Memfd(None)) }).unwrap();
    let file = ram.iter().next().unwrap().file_offset().unwrap().arc().clone();
    assert_eq!(file.set_len(0).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(ram.find_loss(), None);
}

#[test]
fn test_an_unusable_ram_file_is_refused_with_the_reason() {
    let folder = Folder::new();
    for (path, words) in [
        (folder.file(MIB), "is too short with 1048576 bytes: expected the 2097152 bytes of memory"),
        (folder.file(2 * MIB + 1), "has an invalid size of 2097153 bytes: expected a multiple of its page size"),
        (folder.0.join("no/such/folder"), "is not usable: No such file"),
        (Path::new("/dev/zero").to_owned(), "is not a file"),
    ] {
        let error = refused(&of(RamSource::File(path)));
        assert!(error.to_string().contains(words) && error.option() == "memory", "{error}");
        assert!(!error.remedy().is_empty());
    }
}

#[test]
fn test_huge_pages_work_or_the_error_has_the_missing_number() {
    for source in [RamSource::Anonymous, RamSource::Memfd] {
        let backend = of(source(Some(HugePages::Size2M)));
        match allocate(&layout(), &backend) {
            Ok(_) => works(&backend),
            Err(error) => {
                let (text, none) = (error.to_string(), "the host's kernel does not support");
                assert!(
                    text.contains("huge pages of 2048 KiB") && (text.contains(" 0 free") || text.contains(none)),
                    "{text}"
                );
            }
        }
        let odd = allocate(&RamLayout::new(MIB).unwrap(), &backend).unwrap_err();
        assert!(odd.to_string().contains("not a multiple of its huge page size"), "{odd}");
    }
    assert!(HugePages::new(4 << 20).is_err());
}

#[test]
fn test_prealloc_beyond_the_hosts_memory_is_refused_before_it_takes_any() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    // 8 TiB are more than any test host has.
    let layout = RamLayout::new(1 << 43).unwrap();
    for (source, share) in [(RamSource::Anonymous(None), false), (RamSource::Memfd(None), true)] {
        let backend = RamBackend { prealloc: true, share, ..of(source) };
        let ram = allocate(&layout, &backend).unwrap();
        let before = resident();
        let error = backend.populate(&ram, &Cancel::default()).unwrap_err().to_string();
        assert!(error.starts_with("cannot preallocate memory of 8796093022208 bytes: the "), "{error}");
        assert!(error.contains(" can give "), "{error}");
        assert!(resident() < before + (64 << 20) / 4096);
    }
}

#[test]
fn test_prealloc_beyond_the_file_system_is_refused() {
    // A part of the file may exist already. 8 TiB are more than the file system has.
    let folder = Folder::new();
    let path = folder.0.join("ram");
    let backend = RamBackend { prealloc: true, share: true, ..of(RamSource::File(path)) };
    // A file system may refuse so long a file.
    let Ok(ram) = allocate(&RamLayout::new(1 << 43).unwrap(), &backend) else { return };
    let error = backend.populate(&ram, &Cancel::default()).unwrap_err().to_string();
    assert!(error.contains("the file system of the memory file has "), "{error}");
}

#[test]
fn test_huge_pages_beyond_the_hosts_are_an_error() {
    // A limit on the address space would do as well, but applies to the whole process. 1 PiB is more than any test host
    // has.
    let layout = RamLayout::new(1 << 46).unwrap();
    let backend = RamBackend { prealloc: true, ..of(RamSource::Anonymous(Some(HugePages::Size1G))) };
    assert_eq!(allocate(&layout, &backend).unwrap_err().option(), "memory");
}

#[test]
fn test_our_own_access_to_a_truncated_file_is_a_loss_and_no_signal() {
    let folder = Folder::new();
    for share in [false, true] {
        let path = folder.file(2 * MIB);
        let ram = allocate(
            &layout(),
            &RamBackend { source: RamSource::File(path.clone()), share, prealloc: false, no_dump: false },
        )
        .unwrap();
        let other = allocate(&layout(), &RamBackend::default()).unwrap();
        ram.write_obj(1u8, GuestAddress(0)).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(MIB).unwrap();
        assert_eq!(ram.lost(), None, "no access has found the loss");
        assert_eq!(ram.find_loss().unwrap().address, MIB);
        // Reads and writes of many pages, from several threads at once.
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let ram = &ram;
                scope.spawn(move || {
                    for page in 0..64 {
                        let address = GuestAddress(MIB + 0x8000 + page * 0x1000 + thread);
                        assert!([0, 7].contains(&ram.read_obj::<u8>(address).unwrap()));
                        ram.write_obj(7u8, address).unwrap();
                    }
                });
            }
        });
        let loss = ram.lost().unwrap();
        assert_eq!((loss.address, loss.reason), (MIB + 0x8000, LossReason::Truncated { len: MIB }));
        assert_eq!(other.find_loss(), None);
        ram.write_obj(9u8, GuestAddress(MIB + 0x8000)).unwrap();
        assert_eq!(
            ram.read_obj::<u8>(GuestAddress(MIB + 0x8000)).unwrap(),
            9,
            "the lost page was replaced by an empty one"
        );
    }
}

#[test]
fn test_a_signal_for_other_memory_still_ends_the_process() {
    const NAME: &str = "test_a_signal_for_other_memory_still_ends_the_process";
    const CHILD: &str = "KVM_ACCEL_TEST_SIGBUS";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let status = child.args(["--exact", NAME]).env(CHILD, "1").stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
        return;
    }
    let _guarded = allocate(&layout(), &RamBackend::default()).unwrap();
    let folder = Folder::new();
    let path = folder.file(MIB);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let other = MmapRegion::<()>::from_file(FileOffset::new(file, 0), 1 << 20).unwrap();
    truncate(&path, 0);
    std::fs::remove_dir_all(&folder.0).unwrap();
    let byte: u8 = other.as_volatile_slice().read_obj(0).unwrap();
    panic!("lost memory was read: {byte}");
}

struct Channel(Mutex<Sender<Event>>);

impl EventSink for Channel {
    fn emit(&self, event: Event) {
        let _ = self.0.lock().unwrap().send(event);
    }
}

fn kvm() -> bool {
    let there = Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    there
}

fn board(kernel: BootImage, format: KernelFormat, backend: RamBackend) -> Result<(Board, Receiver<Event>), BoardError> {
    let options = BootOptions { format, ..Default::default() };
    let config = BoardConfig {
        accel: AccelProperties::default(),
        memory: 4 * MIB,
        ram: backend,
        cpu: 1.into(),
        boot: Boot::new(kernel, options).unwrap(),
        lost_tick_policy: LostTickPolicy::Delay,
        acpi: true,
        generation: None,
        firmware: None,
        chips: Default::default(),
        devices: vec![
            Box::new(RtcConfig::default()),
            Box::new(FwCfgFiles::default()),
            Box::new(DebugExit::new(0xf4, 4).unwrap()),
        ],
        virtio: Vec::new(),
    };
    let (sender, events) = channel();
    Board::new(config, Arc::new(Channel(Mutex::new(sender))), &|_| Box::new(|| {}), &Default::default())
        .map(|(board, _)| (board, events))
}

fn stopped(events: &Receiver<Event>) -> StopReason {
    loop {
        if let Event::Stopped(reason) = events.recv_timeout(Duration::from_secs(60)).expect("an event") {
            return reason;
        }
    }
}

fn truncate(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn memory_fault(reason: StopReason) -> String {
    let StopReason::Fault(fault) = reason else { panic!("not a fault: {reason:?}") };
    assert_eq!(fault.kind, FaultKind::Memory, "{}", fault.message);
    fault.message
}

#[test]
fn test_a_guest_that_loses_its_memory_stops_and_another_continues() {
    if !kvm() {
        return;
    }
    let folder = Folder::new();
    // mov eax, [0x300000], or a store to it, then a jump back to it: before the truncation and after it.
    for access in [&[0xa1, 0, 0, 0x30, 0][..], &[0xa3, 0, 0, 0x30, 0]] {
        let path = folder.0.join("ram");
        let code = [access, &[0xeb, 0xf9]].concat();
        let kernel = BootImage::from_bytes(ImageRole::Kernel, multiboot_guest(0x10_0000, &code));
        let backend =
            RamBackend { source: RamSource::File(path.clone()), share: true, prealloc: false, no_dump: false };
        let (lossy, events) = board(kernel, KernelFormat::Multiboot, backend).unwrap();
        lossy.resume();
        std::thread::sleep(Duration::from_millis(20));
        truncate(&path, 2 * MIB);
        let message = memory_fault(stopped(&events));
        assert!(message.contains("was truncated to 2097152 bytes"), "{message}");
        assert!(message.contains("0x300000") || message.contains("0x200000"), "{message}");
        // The loss is permanent.
        lossy.resume();
        memory_fault(stopped(&events));

        let kernel = BootImage::from_bytes(ImageRole::Kernel, &[0xb0, 7, 0xe6, 0xf4][..]);
        let (healthy, events) = board(kernel, KernelFormat::Flat, RamBackend::default()).unwrap();
        healthy.resume();
        assert_eq!(stopped(&events), StopReason::Guest(Request::DebugExit { value: 7 }));
        drop(lossy);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn test_a_guest_whose_own_code_is_lost_stops() {
    if !kvm() {
        return;
    }
    let folder = Folder::new();
    let path = folder.0.join("ram");
    let kernel = BootImage::from_bytes(ImageRole::Kernel, multiboot_guest(0x30_0000, &[0xeb, 0xfe]));
    let backend = RamBackend { source: RamSource::File(path.clone()), share: true, prealloc: false, no_dump: false };
    let (lossy, events) = board(kernel, KernelFormat::Multiboot, backend).unwrap();
    lossy.resume();
    std::thread::sleep(Duration::from_millis(20));
    truncate(&path, 2 * MIB);
    let message = memory_fault(stopped(&events));
    assert!(message.contains("is lost: its file was truncated"), "{message}");
}

#[test]
fn test_a_reset_that_writes_to_lost_memory_is_an_error() {
    if !kvm() {
        return;
    }
    let folder = Folder::new();
    let (path, image) = (folder.0.join("ram"), folder.0.join("image"));
    let guest = multiboot_guest(0x30_0000, &[0xeb, 0xfe]);
    write(&image, &guest).unwrap();
    let kernels: [&dyn Fn() -> BootImage; 2] = [
        // The test's own thread copies the first image, and would get the signal. The kernel copies the second, and
        // returns EFAULT.
        &|| BootImage::from_bytes(ImageRole::Kernel, guest.clone()),
        &|| BootImage::open(ImageRole::Kernel, image.to_str().unwrap()).unwrap(),
    ];
    for kernel in kernels {
        let backend =
            RamBackend { source: RamSource::File(path.clone()), share: true, prealloc: false, no_dump: false };
        let (mut lossy, events) = board(kernel(), KernelFormat::Multiboot, backend).unwrap();
        truncate(&path, 2 * MIB);
        let error = lossy.reset(&Default::default()).unwrap_err();
        assert!(matches!(&error, BoardError::Config(error) if error.option() == "memory"), "{error}");
        assert!(error.to_string().contains("is lost: its file was truncated to 2097152 bytes"), "{error}");
        lossy.resume();
        memory_fault(stopped(&events));
        drop(lossy);
        std::fs::remove_file(&path).unwrap();
    }
}
