//! Every bad image is refused with an error that names its fault.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod support;

use kvm_accel_machine::GuestImageProblem::{
    self, DoesNotFit, Malformed, Overlap, Truncated, Unreadable, Unrecognised, WrongClass,
};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat};
use kvm_accel_machine::{GuestImageError, ImageRole};
use support::{
    MIB, Piece, Ram, elf32, elf64, image_error, module, multiboot_guest, multiboot_header, note, put, pvh_guest,
    pvh_note,
};

const CODE: &[u8] = &[0xf4; 16];

fn refusal(kernel: &[u8], options: BootOptions) -> GuestImageError {
    let error = Ram::of(8 * MIB).load(kernel, options).unwrap_err();
    assert_eq!(error.code(), "ERR_GUEST_IMAGE");
    assert!(error.to_string().starts_with(error.image().as_str()), "{error}");
    assert!(error.remedy().ends_with('.'), "{}", error.remedy());
    error
}

fn assert_refused(kernel: &[u8], problem: GuestImageProblem, what: &str) {
    let error = refusal(kernel, BootOptions::default());
    assert_eq!((error.problem(), error.image()), (problem, ImageRole::Kernel), "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

fn pvh_of(pieces: &[Piece]) -> Vec<u8> {
    elf64(0, &[pieces, &[Piece::notes(&[pvh_note(0x10_0000)])]].concat())
}

#[test]
fn images_of_no_known_format() {
    assert_refused(b"", Truncated, "is empty");
    assert_refused(b"#!/bin/sh\n", Unrecognised, "neither an ELF file");
    assert_refused(&multiboot_header(0, &[]), Unrecognised, "neither an ELF file");
    let mut broken = multiboot_header(1 << 16, &[0; 5]);
    broken[8] ^= 1;
    assert_refused(&broken, Unrecognised, "neither an ELF file");
    let mut header_too_late = vec![0; 8196];
    header_too_late.extend(multiboot_header(1 << 16, &[0; 5]));
    assert_refused(&header_too_late, Unrecognised, "neither an ELF file");
}

#[test]
fn a_format_that_was_asked_for_must_be_there() {
    let with = |format| BootOptions { format, ..BootOptions::default() };
    let error = refusal(&pvh_guest(0x10_0000, CODE), with(KernelFormat::Multiboot));
    assert_eq!(error.problem(), Unrecognised, "{error}");
    let error = refusal(&multiboot_guest(0x10_0000, CODE), with(KernelFormat::Pvh));
    assert_eq!(error.problem(), Unrecognised, "{error}");
    let error = refusal(b"no elf", with(KernelFormat::Pvh));
    assert_eq!(error.problem(), WrongClass, "{error}");
    let error = refusal(&multiboot_guest(0x10_0000, CODE), with(KernelFormat::Linux));
    assert_eq!(error.problem(), WrongClass, "{error}");
}

#[test]
fn elf_files_of_the_wrong_class() {
    assert_refused(&elf32(0x10_0000, &[Piece::load(0x10_0000, CODE)]), WrongClass, "32-bit ELF");
    let mut arm = pvh_guest(0x10_0000, CODE);
    put(&mut arm, 18, &183u16.to_le_bytes());
    assert_refused(&arm, WrongClass, "another processor");
    let mut big_endian = pvh_guest(0x10_0000, CODE);
    big_endian[5] = 2;
    assert_refused(&big_endian, WrongClass, "another processor");
    let pvh = BootOptions { format: KernelFormat::Pvh, ..BootOptions::default() };
    let error = refusal(&elf64(0x10_0000, &[Piece::load(0x10_0000, CODE)]), pvh);
    assert_eq!(error.problem(), Unrecognised, "{error}");
    assert!(error.to_string().contains("PVH note"), "{error}");
}

#[test]
fn elf_files_that_end_early() {
    let pvh = pvh_guest(0x10_0000, CODE);
    assert_refused(&pvh[..40], Truncated, "ELF header");
    assert_refused(&pvh[..100], Truncated, "program headers");
    assert_refused(&pvh[..64 + 2 * 56 + 8], Truncated, "segment of 16 bytes");
    assert_refused(&pvh[..pvh.len() - 1], Truncated, "segment of");
    let multiboot = multiboot_guest(0x10_0000, CODE);
    assert_refused(&multiboot[..multiboot.len() - 1], Truncated, "segment of");
    assert_refused(&multiboot_header(1 << 16, &[0; 4]), Truncated, "multiboot header");
}

#[test]
fn elf_headers_that_contradict_themselves() {
    let pvh = pvh_guest(0x10_0000, CODE);
    let with = |at: usize, bytes: &[u8]| {
        let mut file = pvh.clone();
        put(&mut file, at, bytes);
        file
    };
    assert_refused(&with(54, &[57]), Malformed, "program headers");
    assert_refused(&with(32, &[8]), Malformed, "program headers");
    assert_refused(&with(56, &[65]), Malformed, "65 program headers");
    assert_refused(&with(56, &[0]), Malformed, "no segment");
    assert_refused(&with(64 + 40, &[1]), Malformed, "larger in the file");
    assert_refused(&with(32, &[0xff; 8]), Truncated, "program headers");
    assert_refused(&with(64 + 8, &[0xff; 8]), Truncated, "segment of");
    assert_refused(&with(64 + 32, &[0xff; 8]), Truncated, "segment of");
}

#[test]
fn notes_that_lie_about_their_size() {
    let code = Piece::load(0x10_0000, CODE);
    let of = |notes: &[Vec<u8>]| elf64(0, &[code.clone(), Piece::notes(notes)]);
    assert_refused(&of(&[vec![0xff; 12]]), Malformed, "longer than its segment");
    assert_refused(&of(&[vec![0; 5]]), Malformed, "longer than its segment");
    assert_refused(&of(&[note(b"Xen\0", 18, &[0, 0])]), Malformed, "too short");
    assert_refused(&of(&[vec![1; 13], pvh_note(0x10_0000)]), Malformed, "longer than its segment");
    assert_refused(&of(&[vec![0; 65 * 1024]]), Malformed, "64 KiB of notes");
}

#[test]
fn segments_that_overlap() {
    let a = Piece::load(0x10_0000, CODE);
    assert_refused(&pvh_of(&[a.clone(), Piece::load(0x10_000f, [0])]), Overlap, "another segment");
    assert_refused(&pvh_of(&[Piece::load(0xf_fff0, [0; 17]), a.clone()]), Overlap, "another segment");
    // Zeroes that begin between bytes of the file.
    assert_refused(&pvh_of(&[a.clone(), Piece::load(0x10_0008, []).with_memory_size(4)]), Overlap, "another segment");
    let with_tail = Piece::load(0xf_0000, CODE).with_memory_size(0x1_0001);
    assert_refused(&pvh_of(&[a, with_tail, Piece::load(0x10_000f, [0])]), Overlap, "another segment");
}

#[test]
fn segments_outside_ram() {
    for segment in [
        Piece::load(8 * MIB - 15, CODE),
        Piece::load(8 * MIB, CODE),
        Piece::load(0xc000_0000, CODE),
        Piece::load(0x10_0000, CODE).with_memory_size(8 * MIB),
        Piece::load(u64::MAX, CODE),
        Piece::load(0x10_0000, CODE).with_memory_size(u64::MAX),
    ] {
        assert_refused(&pvh_of(&[segment]), DoesNotFit, "bytes of RAM");
    }
    assert_refused(&multiboot_guest(0x80_0000, CODE), DoesNotFit, "bytes of RAM");
    let flat = BootOptions { format: KernelFormat::Flat, ..BootOptions::default() };
    assert_eq!(refusal(&vec![0; 8 << 20], flat).problem(), DoesNotFit);
}

#[test]
fn an_entry_point_outside_all_segments() {
    assert_refused(&pvh_of(&[Piece::load(0x20_0000, CODE)]), Malformed, "entry point at 0x100000");
    let header = multiboot_header(0, &[]);
    assert_refused(&elf32(0x20_0000, &[Piece::load(0x10_0000, header.clone())]), Malformed, "entry point at 0x200000");
    // The segment ends before the entry point, at its virtual and at its physical address.
    let high = Piece::load(0x10_0000, header).at(0xc010_0000);
    assert_refused(&elf32(0xc010_000c, &[high]), Malformed, "entry point at 0xc010000c");
}

#[test]
fn multiboot_kernels_above_4_gib() {
    let code = Piece::load(0x10_0000, [&multiboot_header(0, &[]), CODE].concat());
    assert_refused(&elf64(0x10_0000, &[code.clone(), Piece::load(4 << 30, CODE)]), DoesNotFit, "0x100000000");
    assert_refused(&elf64(4 << 30, &[code]), DoesNotFit, "0x100000000");
}

#[test]
fn contradictory_multiboot_headers() {
    let load = 0x10_0000;
    let with = |fields: [u32; 5]| [multiboot_header(1 << 16, &fields), vec![0; 96]].concat();
    assert_refused(&with([load - 1, load, 0, 0, load]), Malformed, "contradictory");
    assert_refused(&with([load + 1, load, 0, 0, load]), Malformed, "contradictory");
    assert_refused(&with([load, load, load - 1, 0, load]), Malformed, "contradictory");
    assert_refused(&with([load, load, load + 64, load + 63, load]), Malformed, "contradictory");
    assert_refused(&with([load, load, load + 129, 0, load]), Truncated, "fewer than the 129 bytes");
    assert_refused(&with([load, load, 0, 0, load + 128]), Malformed, "entry point");
    let header = multiboot_header(1 << 3, &[]);
    assert_refused(&elf32(load, &[Piece::load(load.into(), header)]), Unrecognised, "flags 0x8");
}

#[test]
fn modules_that_are_empty_or_find_no_room() {
    for kernel in [multiboot_guest(0x10_0000, CODE), pvh_guest(0x10_0000, CODE)] {
        for (bytes, problem) in [(vec![], Truncated), (vec![0; 7 << 20], DoesNotFit)] {
            let options = BootOptions { modules: vec![module(&bytes, "")], ..BootOptions::default() };
            let error = refusal(&kernel, options);
            assert_eq!((error.problem(), error.image()), (problem, ImageRole::Initrd), "{error}");
        }
    }
}

#[test]
fn boot_data_that_finds_no_room() {
    for kernel in [multiboot_guest(0x10_0000, CODE), pvh_guest(0x10_0000, CODE)] {
        let options = BootOptions { cmdline: "x".repeat(8 << 20), ..BootOptions::default() };
        assert_eq!(refusal(&kernel, options).problem(), DoesNotFit);
    }
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let directory = std::env::temp_dir().join(format!("kvm-accel-bad-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let fifo = directory.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (path, what) in [
        (directory.join("missing"), "cannot be opened"),
        (directory.clone(), "is a directory"),
        (fifo, "is not a regular file"),
        ("/dev/null".into(), "is not a regular file"),
    ] {
        let error = BootImage::open(ImageRole::Initrd, &path).unwrap_err();
        assert_eq!((error.problem(), error.image()), (Unreadable, ImageRole::Initrd));
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_file_that_shrinks_between_resets_is_truncated() {
    let path = std::env::temp_dir().join(format!("kvm-accel-shrinks-{}", std::process::id()));
    for kernel in [multiboot_guest(0x10_0000, CODE), pvh_guest(0x10_0000, CODE)] {
        std::fs::write(&path, &kernel).unwrap();
        let image = BootImage::open(ImageRole::Kernel, &path).unwrap();
        let mut boot = Boot::new(image, BootOptions::default()).unwrap();
        let ram = Ram::of(4 * MIB);
        boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(kernel.len() as u64 - 1).unwrap();
        let loaded = boot.load(&ram.layout, &ram.memory, None, &Default::default());
        assert_eq!(image_error(loaded).unwrap_err().problem(), Truncated);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn options_that_the_format_cannot_carry() {
    let image = || BootImage::from_bytes(ImageRole::Kernel, CODE);
    let flat = BootOptions { format: KernelFormat::Flat, ..BootOptions::default() };
    let error = Boot::new(image(), BootOptions { cmdline: "x".to_owned(), ..flat }).unwrap_err();
    assert_eq!((error.code(), error.option()), ("ERR_MACHINE_CONFIG", "append"));
    let modules = vec![module(b"m", "")];
    let flat = BootOptions { format: KernelFormat::Flat, modules, ..BootOptions::default() };
    assert_eq!(Boot::new(image(), flat).unwrap_err().option(), "initrd");
    let nul = BootOptions { cmdline: "a\0b".to_owned(), ..BootOptions::default() };
    assert_eq!(Boot::new(image(), nul).unwrap_err().option(), "append");
    assert_eq!("elf".parse::<KernelFormat>().unwrap_err().option(), "kernelFormat");
    assert_eq!("pvh".parse(), Ok(KernelFormat::Pvh));
}
