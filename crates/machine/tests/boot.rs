//! Valid guests are loaded at their addresses and find the data of their boot protocol.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod support;

use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::{StartMode, StartState};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat};
use kvm_accel_machine::layout::PAGE_SIZE;
use kvm_accel_machine::{ImageRole, SetupError};
use support::{
    MIB, Piece, Ram, bzimage, elf32, elf64, module, multiboot_guest, multiboot_header, note, put, pvh_guest, pvh_note,
};
use vm_memory::{Bytes, GuestAddress};

const CODE: &[u8] = b"\xfa\xf4 some code";

fn options(cmdline: &str) -> BootOptions {
    BootOptions { name: "guest.elf".to_owned(), cmdline: cmdline.to_owned(), ..BootOptions::default() }
}

#[test]
fn a_flat_image_is_entered_in_real_mode_at_0x1000() {
    let ram = Ram::of(MIB);
    let state = ram.load(CODE, BootOptions { format: KernelFormat::Flat, ..BootOptions::default() }).unwrap();
    assert_eq!(state, StartState { mode: StartMode::Real, rip: 0x1000, rax: 0, rbx: 0, rsi: 0, rsp: 0 });
    assert_eq!(ram.bytes(0x1000, CODE.len()), CODE);
}

#[test]
fn a_multiboot_kernel_finds_its_information() {
    let ram = Ram::of(64 * MIB);
    let kernel = multiboot_guest(0x40_0000, CODE);
    let modules = vec![module(&[0xab; 5000], "env first"), module(b"two", "")];
    let state = ram.load(&kernel, BootOptions { modules, ..options("a=1 b") }).unwrap();

    assert_eq!((state.mode, state.rip, state.rax), (StartMode::Protected, 0x40_0000, 0x2bad_b002));
    assert_eq!(ram.bytes(0x40_0000 + 12, CODE.len()), CODE);
    let info = state.rbx;
    let field = |offset| ram.u32(info + offset);
    assert_eq!(field(0), 1 | 1 << 2 | 1 << 3 | 1 << 6);
    assert_eq!((field(4), field(8)), (639, 63 * 1024));
    assert_eq!(ram.string(field(16).into()), "guest.elf a=1 b");

    assert_eq!(field(20), 2);
    let list = u64::from(field(24));
    let (start, end) = (u64::from(ram.u32(list)), u64::from(ram.u32(list + 4)));
    assert!(start > 0x40_0000 && start.is_multiple_of(PAGE_SIZE));
    assert_eq!(ram.bytes(start, usize::try_from(end - start).unwrap()), [0xab; 5000]);
    assert_eq!(ram.string(ram.u32(list + 8).into()), "env first");
    assert_eq!(ram.bytes(ram.u32(list + 16).into(), 3), b"two");
    assert_eq!(ram.string(ram.u32(list + 24).into()), "");

    let (mmap_len, mmap) = (field(44), u64::from(field(48)));
    assert_eq!(mmap_len, 48);
    assert_eq!((ram.u32(mmap), ram.u64(mmap + 4), ram.u64(mmap + 12), ram.u32(mmap + 20)), (20, 0, 0x9_fc00, 1));
    assert_eq!((ram.u64(mmap + 28), ram.u64(mmap + 36)), (MIB, 63 * MIB));
}

#[test]
fn a_multiboot_command_line_is_there_even_when_empty() {
    let ram = Ram::of(8 * MIB);
    let state = ram.load(&multiboot_guest(0x10_0000, CODE), options("")).unwrap();
    assert_eq!(ram.string(ram.u32(state.rbx + 16).into()), "guest.elf ");
}

#[test]
fn boot_data_avoids_trampolines_and_a_kernel_in_low_memory() {
    let ram = Ram::of(2 * MIB);
    for address in [0x8000, 0x1_0000, 0x4_0000] {
        let code = vec![0x90; 0x8_0000 - 0x1000];
        let state = ram.load(&multiboot_guest(address, &code), options("x")).unwrap();
        for at in [state.rbx, ram.u32(state.rbx + 16).into(), ram.u32(state.rbx + 48).into()] {
            assert!(at >= 0x1_0000, "{at:#x}");
            assert!(!(u64::from(address)..u64::from(address) + 0x7_f00c).contains(&at), "{at:#x}");
            assert!(!(0x9_fc00..0x10_0000).contains(&at), "{at:#x}");
        }
        assert_eq!(ram.bytes(u64::from(address) + 12, code.len()), code);
    }
}

#[test]
fn the_address_fields_of_a_multiboot_header_go_before_elf() {
    let ram = Ram::of(8 * MIB);
    // 16 bytes precede the header in the file and in memory. 8 bytes of code are loaded, and 0x100 behind them are
    // cleared.
    let load = 0x20_0000;
    let header = multiboot_header(1 << 16, &[load + 16, load, load + 56, load + 56 + 0x100, load + 48]);
    let file = [&[0x11; 16][..], &header, &[0x22; 8], b"not loaded"].concat();
    ram.memory.write_slice(&[0xee; 0x200], GuestAddress(load.into())).unwrap();
    let state = ram.load(&file, options("")).unwrap();
    assert_eq!(state.rip, u64::from(load) + 48);
    assert_eq!(ram.bytes(load.into(), 56), &file[..56]);
    assert_eq!(ram.bytes(u64::from(load) + 56, 0x100), [0; 0x100]);
    assert_eq!(ram.bytes(u64::from(load) + 0x156, 1), [0xee]);
}

#[test]
fn a_virtual_entry_point_is_entered_at_its_physical_address() {
    let ram = Ram::of(8 * MIB);
    let code = Piece::load(0x10_0000, [&multiboot_header(0, &[]), CODE].concat());
    let data = Piece::load(0x20_0000, CODE).at(0xc020_0000);
    for (kernel, rip) in [
        (elf32(0xc010_000c, &[data.clone(), code.clone().at(0xc010_0000)]), 0x10_000c),
        // The kernel states the physical address itself.
        (elf32(0x10_000c, &[data.clone(), code.clone().at(0xc010_0000)]), 0x10_000c),
        (elf64(0xffff_ffff_8010_000c, &[data, code.clone().at(0xffff_ffff_8010_0000)]), 0x10_000c),
    ] {
        let state = ram.load(&kernel, options("")).unwrap();
        assert_eq!((state.mode, state.rip, state.rax), (StartMode::Protected, rip, 0x2bad_b002));
        assert_eq!(ram.bytes(0x10_000c, CODE.len()), CODE);
    }
    let linux = elf64(0xffff_ffff_8100_0004, &[Piece::load(0x10_0000, CODE).at(0xffff_ffff_8100_0000)]);
    assert_eq!(ram.load(&linux, options("")).unwrap().rip, 0x10_0004);
}

#[test]
fn the_protocol_of_an_image_with_several_headers() {
    let ram = Ram::of(8 * MIB);
    let header = multiboot_header(0, &[]);
    let code = Piece::load(0x10_0000, [&header, CODE].concat());
    let notes = Piece::notes(&[pvh_note(0x10_000c)]);
    let eax = |kernel: &[u8]| ram.load(kernel, options("")).unwrap().rax;
    assert_eq!(eax(&elf32(0x10_0000, &[code.clone(), notes.clone()])), 0x2bad_b002);
    assert_eq!(eax(&elf64(0x10_0000, &[code.clone(), notes.clone()])), 0, "PVH");
    assert_eq!(eax(&elf64(0x10_0000, &[code])), 0x2bad_b002);
    assert_eq!(eax(&elf32(0x10_0000, &[Piece::load(0x10_0000, [CODE; 2].concat()), notes])), 0, "PVH in ELF32");
    let mut linux = bzimage(0x10_0000, &[0x90; 1024]);
    put(&mut linux, 0x400, &multiboot_header(1 << 16, &[0x10_0400, 0x10_0000, 0, 0, 0x10_0000]));
    assert!(matches!(ram.load(&linux, options("")).unwrap().mode, StartMode::Long { .. }));
}

#[test]
fn zero_filled_tails_give_way_to_other_segments() {
    let ram = Ram::of(8 * MIB);
    let code = Piece::load(0x10_0000, [&multiboot_header(0, &[]), CODE].concat()).with_memory_size(0x3000);
    let inside = Piece::load(0x10_1000, [0x11; 16]).with_memory_size(0x20);
    let across = Piece::load(0x10_2ff8, [0x22; 16]);
    ram.memory.write_slice(&[0xee; 0x4000], GuestAddress(0x10_0000)).unwrap();
    // In any order of the program headers.
    ram.load(&elf32(0x10_0000, &[across, inside, code.clone()]), options("")).unwrap();
    let mut expected = vec![0; 0x3008];
    expected[..code.bytes.len()].copy_from_slice(&code.bytes);
    expected[0x1000..0x1010].fill(0x11);
    expected[0x2ff8..].fill(0x22);
    assert!(ram.bytes(0x10_0000, 0x3008) == expected);
    assert_eq!(ram.bytes(0x10_3008, 1), [0xee]);
}

#[test]
fn notes_are_aligned_to_4_or_8_bytes() {
    let ram = Ram::of(8 * MIB);
    let mut padded = note(b"Xen\0", 6, &[1; 4]);
    padded.resize(padded.len().next_multiple_of(8), 0);
    let entry = pvh_note(0x10_0000);
    for notes in [[padded, entry.clone()], [note(b"Xen\0", 6, &[1; 4]), entry]] {
        let kernel = elf64(0, &[Piece::load(0x10_0000, CODE), Piece::notes(&notes)]);
        assert_eq!(ram.load(&kernel, options("")).unwrap().rip, 0x10_0000);
    }
}

#[test]
fn a_pvh_kernel_finds_its_start_of_day_structure() {
    let ram = Ram::of(16 * MIB);
    let modules = vec![module(&[0xcd; 5000], "root"), module(b"second", "")];
    let state = ram.load(&pvh_guest(0x10_0000, CODE), BootOptions { modules, ..options("console=ttyS0") }).unwrap();

    assert_eq!((state.mode, state.rip, state.rax), (StartMode::Protected, 0x10_0000, 0));
    assert_eq!(ram.bytes(0x10_0000, CODE.len()), CODE);
    let info = state.rbx;
    assert_eq!((ram.u32(info), ram.u32(info + 4), ram.u32(info + 12)), (0x336e_c578, 1, 2));
    assert_eq!(ram.string(ram.u64(info + 24)), "console=ttyS0");
    assert_eq!(ram.u64(info + 32), 0);

    let list = ram.u64(info + 16);
    let (address, size) = (ram.u64(list), ram.u64(list + 8));
    assert_eq!((address, size), (16 * MIB - 2 * PAGE_SIZE, 5000));
    assert_eq!(ram.bytes(address, 5000), [0xcd; 5000]);
    assert_eq!(ram.string(ram.u64(list + 16)), "root");
    assert_eq!((ram.u64(list + 32), ram.u64(list + 40)), (16 * MIB - 3 * PAGE_SIZE, 6));

    let (memmap, entries) = (ram.u64(info + 40), ram.u32(info + 48));
    assert_eq!(entries, 4);
    assert_eq!((ram.u64(memmap), ram.u64(memmap + 8), ram.u32(memmap + 16)), (0, 0x9_fc00, 1));
    assert_eq!((ram.u64(memmap + 24), ram.u64(memmap + 32), ram.u32(memmap + 40)), (0x9_fc00, 0x400, 2));
    assert_eq!((ram.u64(memmap + 72), ram.u64(memmap + 80), ram.u32(memmap + 88)), (MIB, 15 * MIB, 1));
}

#[test]
fn the_pvh_note_is_found_among_others_in_any_note_segment() {
    let other = Piece::notes(&[note(b"GNU\0", 3, &[1; 20]), note(b"Linux\0", 257, &[0])]);
    let xen = Piece::notes(&[note(b"Xen\0", 6, b"linux\0"), pvh_note(0x10_0000)]);
    for notes in [[other.clone(), xen.clone()], [xen, other]] {
        let kernel = elf64(0x1234, &[&notes[..], &[Piece::load(0x10_0000, CODE)]].concat());
        assert_eq!(Ram::of(8 * MIB).load(&kernel, options("")).unwrap().rip, 0x10_0000);
    }
}

#[test]
fn modules_stay_below_the_hole_and_the_memory_map_lists_high_ram() {
    let ram = Ram::of(5 << 30);
    let modules = vec![module(b"initrd", "")];
    let state = ram.load(&pvh_guest(0x10_0000, CODE), BootOptions { modules, ..options("") }).unwrap();
    assert_eq!(ram.u64(ram.u64(state.rbx + 16)), (3 << 30) - PAGE_SIZE);
    let memmap = ram.u64(state.rbx + 40);
    assert_eq!((ram.u64(memmap + 96), ram.u64(memmap + 104)), (4 << 30, 2 << 30));
}

#[test]
fn loading_again_restores_what_the_guest_overwrote() {
    let ram = Ram::of(8 * MIB);
    let segment = Piece::load(0x10_0000, CODE).with_memory_size(0x5000);
    let kernels = [
        elf64(0, &[segment.clone(), Piece::notes(&[pvh_note(0x10_0000)])]),
        elf32(
            0x10_0000,
            &[Piece::load(0x10_0000, [&multiboot_header(0, &[]), CODE].concat()).with_memory_size(0x5000)],
        ),
    ];
    for kernel in kernels {
        let modules = vec![module(b"module", "")];
        let image = BootImage::from_bytes(ImageRole::Kernel, kernel);
        let mut boot = Boot::new(image, BootOptions { modules, ..options("x") }).unwrap();
        let first = boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap();
        let loaded = ram.bytes(0, 8 << 20);
        ram.memory.write_slice(&vec![0xee; 7 << 20], GuestAddress(0x1_0000)).unwrap();
        assert_eq!(boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap(), first);
        assert_eq!(ram.bytes(0x10_0000, 0x5000), loaded[0x10_0000..0x10_5000]);
        assert_eq!(ram.bytes(first.rbx, 48), loaded[usize::try_from(first.rbx).unwrap()..][..48]);
    }
}

#[test]
fn images_may_be_files() {
    let directory = std::env::temp_dir().join(format!("kvm-accel-boot-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (kernel, initrd) = (directory.join("kernel"), directory.join("initrd"));
    std::fs::write(&kernel, pvh_guest(0x10_0000, CODE)).unwrap();
    std::fs::write(&initrd, b"initrd").unwrap();
    let image = BootImage::open(ImageRole::Initrd, &initrd).unwrap();
    let modules = vec![kvm_accel_machine::boot::Module { image, cmdline: String::new() }];
    let image = BootImage::open(ImageRole::Kernel, &kernel).unwrap();
    let mut boot = Boot::new(image, BootOptions { modules, ..options("") }).unwrap();
    // The files are kept open, so removing their names has no effect.
    std::fs::remove_dir_all(&directory).unwrap();
    let ram = Ram::of(4 * MIB);
    for _ in 0..2 {
        let state = boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap();
        assert_eq!(ram.bytes(0x10_0000, CODE.len()), CODE);
        assert_eq!(ram.bytes(ram.u64(ram.u64(state.rbx + 16)), 6), b"initrd");
    }
}

#[test]
fn images_of_many_slices_arrive_whole_from_bytes_and_from_files() {
    // Several slices of 1 MiB, and a shorter last one.
    let bytes: Vec<u8> =
        (0..(5 * MIB + 12_345) / 4).flat_map(|word| u32::try_from(word).unwrap().to_le_bytes()).collect();
    let path = std::env::temp_dir().join(format!("kvm-accel-slices-{}", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let file = BootImage::open(ImageRole::Initrd, &path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for image in [BootImage::from_bytes(ImageRole::Initrd, bytes.clone()), file] {
        let kernel = pvh_guest(0x10_0000, &bytes);
        let kernel = BootImage::from_bytes(ImageRole::Kernel, kernel);
        let modules = vec![kvm_accel_machine::boot::Module { image, cmdline: String::new() }];
        let ram = Ram::of(32 * MIB);
        let mut boot = Boot::new(kernel, BootOptions { modules, ..options("") }).unwrap();
        let state = boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap();
        assert!(ram.bytes(0x10_0000, bytes.len()) == bytes);
        assert!(ram.bytes(ram.u64(ram.u64(state.rbx + 16)), bytes.len()) == bytes);
    }
}

#[test]
fn loading_ends_when_it_is_cancelled() {
    let ram = Ram::of(8 * MIB);
    let image = BootImage::from_bytes(ImageRole::Kernel, pvh_guest(0x10_0000, CODE));
    let mut boot = Boot::new(image, options("")).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    let error = boot.load(&ram.layout, &ram.memory, None, &cancel).unwrap_err();
    assert_eq!(error, SetupError::Cancelled(Cancelled));
    assert!(ram.bytes(0, 8 << 20).iter().all(|byte| *byte == 0));
}

#[test]
fn memory_of_a_segment_without_bytes_in_the_file_is_cleared_only_until_it_is_cancelled() {
    // 2 GiB of zeroes behind a few bytes: checking them takes longer than the other thread needs to cancel.
    let ram = Ram::of(3072 * MIB);
    let segment = Piece::load(0x10_0000, CODE).with_memory_size(0x8000_0000);
    let kernel = elf64(0x10_0000, &[segment, Piece::notes(&[pvh_note(0x10_0000)])]);
    let mut boot = Boot::new(BootImage::from_bytes(ImageRole::Kernel, kernel), options("")).unwrap();
    let cancel = Cancel::default();
    // The guest's memory shows that loading is under way.
    let watched = ram.memory.clone();
    let canceller = std::thread::spawn({
        let cancel = cancel.clone();
        move || {
            while watched.read_obj::<u8>(GuestAddress(0x10_0000)).unwrap() != CODE[0] {
                std::hint::spin_loop();
            }
            cancel.cancel();
        }
    });
    let loaded = boot.load(&ram.layout, &ram.memory, None, &cancel);
    canceller.join().unwrap();
    assert_eq!(loaded.unwrap_err(), SetupError::Cancelled(Cancelled));
}

#[test]
fn a_multiboot_header_is_found_anywhere_in_the_first_8_kib() {
    let mut file = vec![0; 9000];
    let load = 0x10_0000;
    let header = multiboot_header(1 << 16, &[load + 8160, load, 0, 0, load]);
    put(&mut file, 8160, &header);
    assert_eq!(Ram::of(4 * MIB).load(&file, options("")).unwrap().rip, u64::from(load));
}

#[test]
fn the_embedded_guests_load_by_both_protocols() {
    for guest in kvm_accel_guests::GUESTS {
        let ram = Ram::of(8 * MIB);
        assert_eq!(ram.load(guest.pvh, options("")).unwrap().rax, 0, "{}", guest.name);
        assert_eq!(ram.load(guest.multiboot, options("")).unwrap().rax, 0x2bad_b002, "{}", guest.name);
    }
}
