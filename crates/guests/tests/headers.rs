//! Checks that each image has the headers of its format.

use kvm_accel_guests::{Format, GUESTS, image};

fn u16_at(image: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|byte| image[at + byte]))
}

fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| image[at + byte]))
}

fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|byte| image[at + byte]))
}

const EXECUTABLE: u16 = 2;
const I386: u16 = 3;
const X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const LOAD_ADDRESS: u64 = 0x10_0000;

#[test]
fn test_multiboot_images_have_a_header_in_the_first_8_kib() {
    for guest in GUESTS {
        let image = guest.multiboot;
        assert_eq!(&image[..5], b"\x7fELF\x01", "{}: ELF32", guest.name);
        assert_eq!((u16_at(image, 16), u16_at(image, 18)), (EXECUTABLE, I386), "{}", guest.name);
        let header = (0..image.len().min(8192) - 12).step_by(4).find(|&at| u32_at(image, at) == 0x1bad_b002);
        let at = header.unwrap_or_else(|| panic!("{} has no multiboot header", guest.name));
        let sum = (0..3).fold(0u32, |sum, word| sum.wrapping_add(u32_at(image, at + 4 * word)));
        assert_eq!(sum, 0, "{}: checksum", guest.name);
        // `e_phoff` is at 28, and `p_paddr` of the only segment at + 12.
        assert_eq!(u64::from(u32_at(image, u32_at(image, 28) as usize + 12)), LOAD_ADDRESS, "{}", guest.name);
    }
}

#[test]
fn test_pvh_images_have_a_note_that_names_an_entry_inside_the_image() {
    for guest in GUESTS {
        let image = guest.pvh;
        assert_eq!(&image[..5], b"\x7fELF\x02", "{}: ELF64", guest.name);
        assert_eq!((u16_at(image, 16), u16_at(image, 18)), (EXECUTABLE, X86_64), "{}", guest.name);
        let segments = usize::try_from(u64_at(image, 32)).unwrap();
        let segment = |kind| {
            (0..usize::from(u16_at(image, 56)))
                .map(|index| segments + index * 56)
                .find(|&at| u32_at(image, at) == kind)
                .unwrap_or_else(|| panic!("{} has no segment of type {kind}", guest.name))
        };
        let (load, note) = (segment(PT_LOAD), segment(PT_NOTE));
        assert_eq!(u64_at(image, load + 24), LOAD_ADDRESS, "{}: p_paddr", guest.name);
        let at = usize::try_from(u64_at(image, note + 8)).unwrap();
        assert_eq!((u32_at(image, at), u32_at(image, at + 4), u32_at(image, at + 8)), (4, 8, 18), "{}", guest.name);
        assert_eq!(&image[at + 12..at + 16], b"Xen\0", "{}", guest.name);
        let entry = u64_at(image, at + 16);
        let size = u64_at(image, load + 40);
        assert!((LOAD_ADDRESS..LOAD_ADDRESS + size).contains(&entry), "{}: {entry:#x}", guest.name);
    }
}

#[test]
fn test_image_finds_by_name_and_format() {
    assert_eq!(image("hello", Format::Pvh).unwrap()[4], 2);
    assert_eq!(image("hello", Format::Multiboot).unwrap()[4], 1);
    assert!(image("no such guest", Format::Pvh).is_none());
}

#[test]
fn test_images_are_small_sorted_by_name_and_listed_once() {
    assert!(GUESTS.iter().all(|guest| guest.pvh.len() < 32768 && guest.multiboot.len() < 32768));
    assert!(GUESTS.windows(2).all(|pair| pair[0].name < pair[1].name));
}
