//! Linux's 64-bit boot protocol: the data that a kernel finds, and the error for every wrong field of a setup header.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod support;

use kvm_accel::{StartMode, StartState};
use kvm_accel_machine::GuestImageProblem::{self, DoesNotFit, Malformed, Overlap, Truncated, Unrecognised, WrongClass};
use kvm_accel_machine::ImageRole;
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat};
use kvm_accel_machine::layout::PAGE_SIZE;
use proptest::prelude::*;
use support::{MIB, Piece, Ram, bzimage, elf32, elf64, module, put, pvh_guest, setup};
use vm_memory::{Bytes, GuestAddress};

const CODE: &[u8] = b"\xfa\xf4 some code";
const RSDP: u64 = 0xe_0000;

fn load(ram: &Ram, kernel: &[u8], options: BootOptions) -> StartState {
    let image = BootImage::from_bytes(ImageRole::Kernel, kernel.to_vec());
    Boot::new(image, options).unwrap().load(&ram.layout, &ram.memory, Some(RSDP), &Default::default()).unwrap()
}

fn with(cmdline: &str, modules: Vec<kvm_accel_machine::boot::Module>) -> BootOptions {
    BootOptions { cmdline: cmdline.to_owned(), modules, ..BootOptions::default() }
}

/// Returns the e820 entries of a zero page.
fn e820(ram: &Ram, zero_page: u64) -> Vec<(u64, u64, u32)> {
    let entries = u64::from(ram.bytes(zero_page + 0x1e8, 1)[0]);
    (0..entries)
        .map(|index| zero_page + 0x2d0 + index * 20)
        .map(|at| (ram.u64(at), ram.u64(at + 8), ram.u32(at + 16)))
        .collect()
}

/// Asserts that the GDT and the page tables of a 64-bit start map an address to itself.
fn assert_identity(ram: &Ram, state: &StartState, linear: u64) {
    let StartMode::Long { page_table, gdt, gdt_limit } = state.mode else { panic!("{state:?}") };
    assert_eq!((ram.u64(gdt + 0x10), ram.u64(gdt + 0x18)), (0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff));
    assert!(gdt_limit >= 0x1f);
    let next = |table: u64, shift: u32| {
        let entry = ram.u64((table & !0xfff) + (linear >> shift) % 512 * 8);
        assert_eq!(entry & 3, 3, "{linear:#x}");
        entry
    };
    let page = next(next(next(page_table, 39), 30), 21);
    assert_eq!((page & 0x80, page & !0x1f_ffff), (0x80, linear & !0x1f_ffff));
}

#[test]
fn a_bzimage_finds_its_zero_page() {
    let ram = Ram::of(64 * MIB);
    let state = load(&ram, &bzimage(16 * MIB, CODE), with("console=ttyS0", vec![module(&[0xcd; 5000], "")]));
    assert_eq!((state.rip, state.rax, state.rbx), (16 * MIB + 0x200, 0, 0));
    assert_eq!(ram.bytes(16 * MIB + 0x200, CODE.len()), CODE);

    let zero_page = state.rsi;
    assert!((0x1_0000..0x9_fc00).contains(&zero_page));
    for linear in [zero_page, state.rip, 64 * MIB, 0xfee0_0000] {
        assert_identity(&ram, &state, linear);
    }
    assert_eq!(ram.u64(zero_page + 0x70), RSDP);
    assert_eq!(ram.u32(zero_page + 0x202), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(ram.bytes(zero_page + 0x210, 1), [0xff]);
    assert_eq!(ram.string(ram.u32(zero_page + 0x228).into()), "console=ttyS0");
    let (initrd, size) = (u64::from(ram.u32(zero_page + 0x218)), ram.u32(zero_page + 0x21c));
    assert_eq!((initrd, size), (64 * MIB - 2 * PAGE_SIZE, 5000));
    assert_eq!(ram.bytes(initrd, 5000), [0xcd; 5000]);
    let map = [(0, 0x9_fc00, 1), (0x9_fc00, 0x400, 2), (0xe_0000, 0x2_0000, 2), (MIB, 63 * MIB, 1)];
    assert_eq!(e820(&ram, zero_page), map);
}

#[test]
fn devices_are_announced_on_a_command_line_that_is_not_fixed() {
    for (fixed_cmdline, expected) in [(false, "quiet virtio_mmio.device=x"), (true, "quiet")] {
        let ram = Ram::of(64 * MIB);
        let image = BootImage::from_bytes(ImageRole::Kernel, bzimage(16 * MIB, CODE));
        let mut boot = Boot::new(image, BootOptions { fixed_cmdline, ..with("quiet", vec![]) }).unwrap();
        boot.announce("virtio_mmio.device=x".into());
        let zero_page = boot.load(&ram.layout, &ram.memory, Some(RSDP), &Default::default()).unwrap().rsi;
        assert_eq!(ram.string(ram.u32(zero_page + 0x228).into()), expected);
    }
}

#[test]
fn a_vmlinux_without_a_pvh_note_is_entered_at_its_own_entry() {
    let ram = Ram::of(32 * MIB);
    ram.memory.write_slice(&[0xee; 0x1000], GuestAddress(16 * MIB)).unwrap();
    let kernel = elf64(16 * MIB + 4, &[Piece::load(16 * MIB, CODE).with_memory_size(0x1000)]);
    let state = load(&ram, &kernel, with("a=b", vec![]));
    assert_eq!(state.rip, 16 * MIB + 4);
    assert_eq!(ram.bytes(16 * MIB, CODE.len()), CODE);
    assert_eq!(ram.bytes(16 * MIB + CODE.len() as u64, 0x1000 - CODE.len()), vec![0; 0x1000 - CODE.len()]);
    assert_identity(&ram, &state, state.rip);
    assert_eq!(ram.u32(state.rsi + 0x202), u32::from_le_bytes(*b"HdrS"));
    assert_eq!(ram.string(ram.u32(state.rsi + 0x228).into()), "a=b");
    assert_eq!((ram.u32(state.rsi + 0x218), ram.u32(state.rsi + 0x21c)), (0, 0));
}

#[test]
fn a_pvh_note_can_be_passed_over() {
    let ram = Ram::of(8 * MIB);
    let kernel = pvh_guest(0x10_0000, CODE);
    assert_eq!(load(&ram, &kernel, with("", vec![])).mode, StartMode::Protected);
    let linux = BootOptions { format: KernelFormat::Linux, ..BootOptions::default() };
    assert!(matches!(load(&ram, &kernel, linux).mode, StartMode::Long { .. }));
}

#[test]
fn pvh_hands_the_root_pointer_over() {
    let ram = Ram::of(8 * MIB);
    let state = load(&ram, &pvh_guest(0x10_0000, CODE), with("", vec![]));
    assert_eq!(ram.u64(state.rbx + 32), RSDP);
}

#[test]
fn a_kernel_that_is_not_relocatable_is_loaded_where_it_starts_and_moves_itself() {
    let ram = Ram::of(64 * MIB);
    let mut kernel = bzimage(16 * MIB, CODE);
    put(&mut kernel, setup::RELOCATABLE, &[0]);
    assert_eq!(load(&ram, &kernel, with("", vec![])).rip, MIB + 0x200);
    // The load address may lie within the memory that the kernel unpacks itself to.
    put(&mut kernel, setup::CODE32_START, &(16 << 20 | 0x8_0000u32).to_le_bytes());
    assert_eq!(load(&ram, &kernel, with("", vec![])).rip, 16 * MIB + 0x8_0200);
}

#[test]
fn an_initrd_stays_below_initrd_addr_max() {
    let ram = Ram::of(64 * MIB);
    let mut kernel = bzimage(16 * MIB, CODE);
    put(&mut kernel, setup::INITRD_ADDR_MAX, &0x2fff_ffffu32.to_le_bytes());
    assert_eq!(ram.u32(load(&ram, &kernel, with("", vec![module(b"i", "")])).rsi + 0x218), (64 << 20) - 4096);
    put(&mut kernel, setup::INITRD_ADDR_MAX, &0x01ff_ffffu32.to_le_bytes());
    assert_eq!(ram.u32(load(&ram, &kernel, with("", vec![module(b"i", "")])).rsi + 0x218), (32 << 20) - 4096);
}

fn assert_refused(kernel: &[u8], options: BootOptions, problem: GuestImageProblem, what: &str) {
    let error = Ram::of(8 * MIB).load(kernel, options).unwrap_err();
    assert_eq!(error.problem(), problem, "{error}");
    assert!(error.to_string().contains(what), "{error}");
    assert!(error.remedy().ends_with('.'), "{}", error.remedy());
}

#[test]
fn every_wrong_header_field_is_named() {
    let good = bzimage(2 * MIB, CODE);
    let field = |at: usize, bytes: &[u8], problem, what: &str| {
        let mut kernel = good.clone();
        put(&mut kernel, at, bytes);
        assert_refused(&kernel, BootOptions::default(), problem, what);
    };
    field(setup::VERSION, &[0x0b, 2], Unrecognised, "boot protocol 2.11 (header field version)");
    field(setup::LOADFLAGS, &[0x80], Unrecognised, "loadflags");
    field(setup::XLOADFLAGS, &[0x3e], WrongClass, "xloadflags without XLF_KERNEL_64");
    field(setup::SETUP_SECTS, &[3], Truncated, "setup_sects");
    field(setup::SETUP_SECTS, &[0], Truncated, "setup_sects");
    field(setup::SYSSIZE, &[0xff; 4], Truncated, "syssize");
    field(setup::INIT_SIZE, &[0x0f, 2, 0, 0], Malformed, "init_size");
    field(setup::INIT_SIZE, &[0xff; 4], DoesNotFit, "pref_address and init_size");
    field(setup::PREF_ADDRESS, &[0xff; 8], DoesNotFit, "pref_address and init_size");
    field(setup::PREF_ADDRESS, &(1u64 << 32).to_le_bytes(), DoesNotFit, "pref_address and init_size");
    let mut moves = good.clone();
    put(&mut moves, setup::RELOCATABLE, &[0]);
    put(&mut moves, setup::CODE32_START, &[0xff; 4]);
    assert_refused(&moves, BootOptions::default(), DoesNotFit, "code32_start and syssize");
    assert_refused(&good[..0x230], BootOptions::default(), Truncated, "setup header");

    let mut short = good.clone();
    put(&mut short, setup::CMDLINE_SIZE, &3u32.to_le_bytes());
    assert_refused(&short, with("abcd", vec![]), DoesNotFit, "cmdline_size");
    let mut low = good.clone();
    put(&mut low, setup::INITRD_ADDR_MAX, &0xfu32.to_le_bytes());
    assert_refused(&low, with("", vec![module(b"i", "")]), DoesNotFit, "initrd_addr_max");
    assert_refused(&good, with("", vec![module(b"a", ""), module(b"b", "")]), DoesNotFit, "second initrd");
}

#[test]
fn a_kernel_of_another_kind_is_not_linux() {
    let linux = || BootOptions { format: KernelFormat::Linux, ..BootOptions::default() };
    assert_refused(b"#!/bin/sh", linux(), Unrecognised, "bzImage");
    assert_refused(&elf32(1 << 20, &[Piece::load(MIB, CODE)]), linux(), WrongClass, "32-bit");
    assert_refused(&elf64(2 * MIB, &[Piece::load(MIB, CODE)]), linux(), Malformed, "entry point");
    let long = BootOptions { cmdline: "x".repeat(2048), ..linux() };
    assert_refused(&elf64(MIB, &[Piece::load(MIB, CODE)]), long, DoesNotFit, "at most 2047 bytes");
    let high = elf64(4 << 30, &[Piece::load(4 << 30, CODE)]);
    let error = Ram::of(5 << 30).load(&high, linux()).unwrap_err();
    assert!(error.to_string().contains("below 4 GiB"), "{error}");
    let overlapping = elf64(MIB, &[Piece::load(MIB, CODE), Piece::load(MIB + 1, CODE)]);
    assert_refused(&overlapping, linux(), Overlap, "another segment");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// For any setup header: the kernel is refused with a reason, or all ranges lie apart, in usable RAM.
    #[test]
    fn mutated_setup_headers(
        fields in prop::collection::vec((0x1f1usize..0x26c, prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 0..6),
        word in prop::option::of((0usize..16, any::<u32>())),
        cut in prop::option::of(0usize..3000),
        address in prop_oneof![Just(2 * MIB), 0..6 * MIB],
    ) {
        let mut kernel = bzimage(address, &[0x90; 700]);
        for (at, byte) in fields {
            kernel[at] = byte;
        }
        if let Some((at, value)) = word {
            put(&mut kernel, 0x200 + at * 4, &value.to_le_bytes());
        }
        kernel.truncate(cut.unwrap_or(kernel.len()));
        let ram = Ram::of(5 * MIB);
        let options = BootOptions { format: KernelFormat::Linux, ..with("a b", vec![module(b"module", "")]) };
        match ram.load(&kernel, options) {
            Ok(state) => {
                let zero_page = state.rsi;
                let at = |address: u64, len: u64| address..address + len;
                let [initrd, size, cmdline] = [0x218, 0x21c, 0x228].map(|field| u64::from(ram.u32(zero_page + field)));
                let StartMode::Long { page_table, gdt, .. } = state.mode else { return Err(TestCaseError::fail("mode")) };
                let kernel = at(state.rip - 0x200, 512 + 700);
                let ranges =
                    [kernel, at(initrd, size), at(zero_page, 4096), at(cmdline, 4), at(page_table, 6 * 4096), at(gdt, 32)];
                for (index, range) in ranges.iter().enumerate() {
                    prop_assert!(range.end <= 5 * MIB, "{:x?}", ranges);
                    prop_assert!(ranges[..index].iter().all(|other| range.start >= other.end || other.start >= range.end));
                }
                prop_assert_eq!(ram.bytes(initrd, 6), b"module");
                prop_assert_eq!(ram.string(cmdline), "a b");
            }
            Err(error) => prop_assert!(!error.to_string().is_empty() && error.remedy().ends_with('.')),
        }
    }
}
