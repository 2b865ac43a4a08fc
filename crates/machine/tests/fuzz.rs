//! For any image: no loader panics, errors are typed, and every loaded byte is at its address.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod support;

use kvm_accel::{StartMode, StartState};
use kvm_accel_machine::GuestImageError;
use kvm_accel_machine::boot::{BootOptions, KernelFormat};
use proptest::prelude::*;
use std::ops::Range;
use support::{MIB, Piece, Ram, bzimage, elf32, elf64, module, multiboot_header, note, pvh_note};

const FORMATS: [KernelFormat; 5] =
    [KernelFormat::Auto, KernelFormat::Flat, KernelFormat::Linux, KernelFormat::Multiboot, KernelFormat::Pvh];

fn load(ram: &Ram, kernel: &[u8], format: KernelFormat) -> Result<StartState, GuestImageError> {
    let options = match format {
        KernelFormat::Flat => BootOptions { format, ..BootOptions::default() },
        _ => BootOptions {
            format,
            name: "fuzz".to_owned(),
            cmdline: "a b".to_owned(),
            modules: vec![module(b"module", "m")],
            ..BootOptions::default()
        },
    };
    ram.load(kernel, options)
}

/// Loads an image in every format, into small and larger RAM.
fn load_all_ways(kernel: &[u8]) -> Result<(), TestCaseError> {
    for size in [MIB, 3 * MIB] {
        let ram = Ram::of(size);
        for format in FORMATS {
            match load(&ram, kernel, format) {
                Ok(state) => {
                    prop_assert!(state.rip < size);
                    prop_assert!(state.mode == StartMode::Real || state.rbx == 0 || state.rbx >= 0x1_0000);
                }
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
                }
            }
        }
    }
    Ok(())
}

/// Generates segments at random addresses, most of them without overlap.
fn segments() -> impl Strategy<Value = Vec<Piece>> {
    let segment = (0u64..3 * MIB, prop::collection::vec(any::<u8>(), 0..3000), 0u64..0x4000);
    prop::collection::vec(segment, 1..6).prop_map(|segments| {
        let pieces = segments.into_iter().map(|(address, bytes, rest)| {
            let memory_size = bytes.len() as u64 + rest;
            Piece::load(address, bytes).with_memory_size(memory_size)
        });
        pieces.collect()
    })
}

/// Generates an image of random segments, entered in the first one, with a header for multiboot and a note for PVH.
fn guest() -> impl Strategy<Value = (Vec<u8>, Vec<Piece>)> {
    (segments(), any::<bool>()).prop_map(|(mut pieces, pvh)| {
        let header = multiboot_header(0, &[]);
        let entry = u32::try_from(pieces[0].address).unwrap();
        pieces[0].memory_size += header.len() as u64;
        pieces[0].bytes.splice(0..0, header);
        let image = if pvh {
            let notes = Piece::notes(&[note(b"GNU\0", 3, &[7; 20]), pvh_note(entry)]);
            elf64(entry.into(), &[&pieces[..], &[notes]].concat())
        } else {
            elf32(entry, &pieces)
        };
        (image, pieces)
    })
}

fn ranges(pieces: &[Piece]) -> Vec<Range<u64>> {
    pieces
        .iter()
        .map(|piece| piece.address..piece.address + piece.memory_size)
        .filter(|range| !range.is_empty())
        .collect()
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Returns the ranges that a boot protocol's structures point to.
fn boot_data(ram: &Ram, state: &StartState) -> Vec<Range<u64>> {
    let at = |address: u64, len: u64| address..address + len;
    let info = state.rbx;
    if state.rax == 0x2bad_b002 {
        let [cmdline, modules, mmap] = [16, 24, 48].map(|offset| u64::from(ram.u32(info + offset)));
        let (start, end) = (ram.u32(modules).into(), ram.u32(modules + 4).into());
        let mmap_len = ram.u32(info + 44).into();
        vec![at(info, 88), at(cmdline, 9), at(modules, 16), at(mmap, mmap_len), start..end]
    } else {
        let [modules, cmdline, memmap] = [16, 24, 40].map(|offset| ram.u64(info + offset));
        let memmap_len = 24 * u64::from(ram.u32(info + 48));
        let module = at(ram.u64(modules), ram.u64(modules + 8));
        vec![at(info, 56), at(cmdline, 4), at(modules, 32), at(memmap, memmap_len), module]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        load_all_ways(&bytes)?;
    }

    #[test]
    fn arbitrary_bytes_behind_a_magic_number(
        magic in prop::sample::select(vec![
            b"\x7fELF\x01\x01".to_vec(),
            b"\x7fELF\x02\x01".to_vec(),
            multiboot_header(1 << 16, &[]),
            bzimage(0x10_0000, &[])[..0x202].to_vec(),
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        load_all_ways(&[magic, bytes].concat())?;
    }

    #[test]
    fn multiboot_addresses_of_all_kinds(fields in prop::array::uniform5(prop_oneof![0u32..4096, any::<u32>()])) {
        load_all_ways(&[multiboot_header(1 << 16, &fields), vec![0x90; 3000]].concat())?;
    }

    #[test]
    fn mutated_images(
        (mut image, _) in guest(),
        mutations in prop::collection::vec((0usize..400, prop_oneof![Just(0u8), Just(0xff), any::<u8>()]), 1..12),
        cut in prop::option::of(0usize..20_000),
    ) {
        for (at, byte) in mutations {
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
        }
        image.truncate(cut.unwrap_or(image.len()));
        load_all_ways(&image)?;
    }

    #[test]
    fn a_loaded_guest_is_where_it_belongs((image, pieces) in guest(), size in prop::sample::select(vec![1, 2, 3, 4])) {
        let ram = Ram::of(size * MIB);
        let wanted = ranges(&pieces);
        // Bytes of the file are where no other segment's are, and no segment begins between them.
        let filled = |piece: &Piece| piece.address..piece.address + piece.bytes.len() as u64;
        let mut loaded: Vec<_> = pieces.iter().filter(|piece| piece.memory_size > 0).collect();
        loaded.sort_by_key(|piece| (piece.address, piece.bytes.len()));
        let apart = loaded.iter().enumerate().all(|(i, high)| {
            loaded[..i].iter().all(|low| !filled(low).contains(&high.address))
        });
        let fits = wanted.iter().all(|range| range.end <= size * MIB);
        match load(&ram, &image, KernelFormat::Auto) {
            Ok(state) => {
                prop_assert!(apart && fits);
                prop_assert_eq!(state.rip, pieces[0].address);
                for piece in &pieces {
                    prop_assert_eq!(&ram.bytes(piece.address, piece.bytes.len()), &piece.bytes);
                    let rest = filled(piece).end..piece.address + piece.memory_size;
                    let bytes = ram.bytes(rest.start, usize::try_from(rest.end - rest.start).unwrap());
                    let cleared = |at: &u64| !pieces.iter().any(|other| filled(other).contains(at));
                    prop_assert!(rest.zip(bytes).filter(|(at, _)| cleared(at)).all(|(_, byte)| byte == 0));
                }
                let data = boot_data(&ram, &state);
                for (index, range) in data.iter().enumerate() {
                    prop_assert!(range.start >= 0x1_0000 && range.end <= size * MIB, "{range:x?}");
                    prop_assert!(!overlap(range, &(0x9_fc00..MIB)), "{range:x?}");
                    prop_assert!(wanted.iter().chain(&data[..index]).all(|other| !overlap(range, other)), "{range:x?}");
                }
                prop_assert_eq!(ram.bytes(data[4].start, 6), b"module");
            }
            Err(error) => {
                let problem = error.problem().as_str();
                prop_assert!(["overlap", "does-not-fit"].contains(&problem), "{}", error);
                // Valid segments leave no room for boot data only if small RAM is nearly full.
                prop_assert!(!apart || !fits || size == 1, "{}", error);
            }
        }
    }
}
