#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::RamLayout;
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn device() -> FwCfg {
    let layout = RamLayout::new(2 * MIB).unwrap();
    let mut items = FwCfgItems::of_machine(&layout, 3);
    items.add_file("opt/b", b"second".to_vec()).unwrap();
    items.add_file("opt/a", (0..=255).collect()).unwrap();
    FwCfg::new(items, crate::ram::allocate(&layout, &Default::default()).unwrap())
}

fn select(device: &FwCfg, key: u16) {
    assert_eq!(device.write(SELECTOR, &key.to_le_bytes()), None);
}

fn bytes<const N: usize>(device: &FwCfg) -> [u8; N] {
    [(); N].map(|()| {
        let mut byte = [0xee];
        device.read(DATA, &mut byte);
        byte[0]
    })
}

fn file_key(device: &FwCfg, name: &str) -> u16 {
    select(device, key::FILE_DIRECTORY);
    let count = u32::from_be_bytes(bytes(device));
    let entries = (0..count).map(|_| bytes::<64>(device));
    let entry = entries.into_iter().find(|entry| entry[8..].starts_with(format!("{name}\0").as_bytes())).unwrap();
    u16::from_be_bytes([entry[4], entry[5]])
}

fn transfer(device: &FwCfg, control: u32, len: u32, target: u64) -> u32 {
    const AT: u64 = 0x1000;
    let description = [&control.to_be_bytes()[..], &len.to_be_bytes(), &target.to_be_bytes()].concat();
    device.ram.write_slice(&description, GuestAddress(AT)).unwrap();
    device.write(DMA_HIGH, &0u32.to_be_bytes());
    device.write(DMA_LOW, &u32::try_from(AT).unwrap().to_be_bytes());
    u32::from_be(device.ram.read_obj(GuestAddress(AT)).unwrap())
}

#[test]
fn test_numbered_items_are_little_endian_and_end_in_zeroes() {
    let device = device();
    assert_eq!(&bytes(&device), b"QEMU\0");
    for (key, expected) in [(key::ID, 3), (key::RAM_SIZE, 2 * MIB), (key::CPUS, 3), (0x11, 0), (0xffff, 0)] {
        select(&device, key);
        assert_eq!(u64::from_le_bytes(bytes(&device)), expected, "{key:#x}");
    }
    select(&device, key::CPUS | 0x4000);
    assert_eq!(bytes(&device), [3, 0, 0]);
}

#[test]
fn test_a_reset_selects_the_signature_again() {
    let device = device();
    select(&device, key::CPUS);
    device.reset();
    assert_eq!(&bytes(&device), b"QEMU");
}

#[test]
fn test_only_a_word_selects_and_only_a_byte_reads() {
    let device = device();
    device.write(SELECTOR, &[5]);
    device.write(SELECTOR, &[5, 0, 0, 0]);
    let mut word = [0xee; 2];
    device.read(SELECTOR, &mut word);
    assert_eq!(word, [0, 0]);
    assert_eq!(&bytes(&device), b"QEMU");
}

#[test]
fn test_the_directory_names_files_in_order() {
    let device = device();
    select(&device, key::FILE_DIRECTORY);
    assert_eq!(u32::from_be_bytes(bytes(&device)), 3);
    let names = [(); 3].map(|()| {
        let entry = bytes::<64>(&device);
        let name = entry[8..].split(|byte| *byte == 0).next().unwrap();
        (String::from_utf8(name.to_vec()).unwrap(), u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]))
    });
    assert_eq!(names, [("etc/e820".into(), 20), ("opt/a".into(), 256), ("opt/b".into(), 6)]);
    select(&device, file_key(&device, "opt/b"));
    assert_eq!(&bytes(&device), b"second\0");
    select(&device, file_key(&device, "etc/e820"));
    assert_eq!([bytes(&device), bytes(&device)].map(u64::from_le_bytes), [0, 2 * MIB]);
    assert_eq!(u32::from_le_bytes(bytes(&device)), 1);
}

#[test]
fn test_transfers_select_skip_copy_and_pad() {
    let device = device();
    device.ram.write_slice(&[0xee; 300], GuestAddress(0x2000)).unwrap();
    let key = u32::from(file_key(&device, "opt/a")) << 16;
    assert_eq!(transfer(&device, key | CONTROL_SELECT | CONTROL_SKIP, 250, 0), 0);
    assert_eq!(transfer(&device, CONTROL_READ, 10, 0x2000), 0);
    let mut copied = [0; 12];
    device.ram.read_slice(&mut copied, GuestAddress(0x2000)).unwrap();
    assert_eq!(copied, [250, 251, 252, 253, 254, 255, 0, 0, 0, 0, 0xee, 0xee]);
    assert_eq!(transfer(&device, key | CONTROL_SELECT, 0, 0), 0);
    assert_eq!(bytes(&device), [0, 1]);
}

#[test]
fn test_invalid_transfers_fail() {
    let device = device();
    for (control, len, target) in [
        (CONTROL_WRITE, 1, 0x2000),
        (CONTROL_READ, 1, 2 * MIB),
        (CONTROL_READ, u32::MAX, 0x2000),
        (CONTROL_READ, 1, u64::MAX),
        (CONTROL_READ, u32::MAX, u64::MAX - 4),
    ] {
        assert_eq!(transfer(&device, control, len, target), CONTROL_ERROR, "{control:#x} {len} {target:#x}");
    }
    device.write(DMA_LOW, &0xffff_fff0u32.to_be_bytes());
}

/// Returns a device whose RAM and whose file `opt/large` are larger than a slice.
fn large_device() -> (FwCfg, Vec<u8>) {
    let layout = RamLayout::new(16 * MIB).unwrap();
    let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
    let mut items = FwCfgItems::of_machine(&layout, 1);
    items.add_file("opt/large", bytes.clone()).unwrap();
    (FwCfg::new(items, crate::ram::allocate(&layout, &Default::default()).unwrap()), bytes)
}

fn control(device: &FwCfg) -> u32 {
    u32::from_be(device.ram.read_obj(GuestAddress(0x1000)).unwrap())
}

#[test]
fn test_an_interrupted_transfer_continues_at_its_position() {
    let (device, large) = large_device();
    let key = u32::from(file_key(&device, "opt/large")) << 16;
    let target = 2 * MIB;
    let len = u32::try_from(large.len()).unwrap() + 300_000;
    device.ram.write_slice(&vec![0xee; large.len() + 300_001], GuestAddress(target)).unwrap();
    let asked = key | CONTROL_SELECT | CONTROL_READ;
    device.interrupt();
    assert_eq!(transfer(&device, asked, len, target), asked, "nothing is answered yet");
    assert_eq!(device.ram.read_obj::<u8>(GuestAddress(target)).unwrap(), 0xee, "nothing is copied while it stops");
    // The guest's other accesses see the state after the transfer.
    assert_eq!(bytes::<1>(&device), [0]);
    // Another vCPU's thread does not continue the transfer, and neither does its own thread while the machine stops.
    std::thread::scope(|scope| scope.spawn(|| device.complete()).join().unwrap());
    device.complete();
    assert_eq!(control(&device), asked);
    device.resume();
    device.complete();
    assert_eq!(control(&device), 0);
    let mut copied = vec![0; large.len() + 300_001];
    device.ram.read_slice(&mut copied, GuestAddress(target)).unwrap();
    let expected = [large, vec![0; 300_000], vec![0xee]].concat();
    assert!(copied == expected);
    // The transfer is completed only once.
    device.ram.write_obj(0xffu8, GuestAddress(target)).unwrap();
    device.complete();
    assert_eq!(device.ram.read_obj::<u8>(GuestAddress(target)).unwrap(), 0xff);
}

#[test]
fn test_a_transfer_keeps_its_place_at_any_slice() {
    let (device, large) = large_device();
    let mut transfer = Transfer::new(0x1000, 0, 1, 2 * MIB, large.len() as u64 + 100_000);
    let mut slices = 0;
    while transfer.copy_slice(&large, &device.ram) == Progress::More {
        // Cloned, as a stop keeps it.
        transfer = transfer.clone();
        slices += 1;
    }
    assert_eq!(slices, 4, "three slices of the item and two of zeroes, the last of which completes the transfer");
    let mut copied = vec![0xee; large.len() + 100_000];
    device.ram.read_slice(&mut copied, GuestAddress(2 * MIB)).unwrap();
    assert!(copied[..large.len() - 1] == large[1..] && copied[large.len() - 1..].iter().all(|byte| *byte == 0));
}

#[test]
fn test_a_reset_drops_what_was_cut_short() {
    let (device, _) = large_device();
    device.interrupt();
    assert_eq!(transfer(&device, CONTROL_READ, 4, 0x2000), CONTROL_READ);
    device.reset();
    device.resume();
    device.complete();
    assert_eq!(control(&device), CONTROL_READ);
    assert_eq!(&bytes(&device), b"QEMU");
}

#[test]
fn test_the_largest_transfer_holds_no_lock_and_ends_soon_after_an_interruption() {
    // 4 GiB of RAM and 4 GiB of zeroes take seconds, unless the transfer is interrupted.
    let layout = RamLayout::new(3072 * MIB).unwrap();
    let items = FwCfgItems::of_machine(&layout, 1);
    let device = FwCfg::new(items, crate::ram::allocate(&layout, &Default::default()).unwrap());
    std::thread::scope(|scope| {
        let vcpu = scope.spawn(|| transfer(&device, CONTROL_READ, 3 << 30, 0x2000));
        // The guest's memory shows that the transfer is under way.
        while device.ram.read_obj::<u32>(GuestAddress(0x2000)).unwrap() != u32::from_le_bytes(*b"QEMU") {
            std::hint::spin_loop();
        }
        // The lock is free during the transfer, and the selected offset is after it.
        assert_eq!(bytes::<1>(&device), [0]);
        device.interrupt();
        assert_eq!(vcpu.join().unwrap(), CONTROL_READ, "it was cut short");
    });
    let kept = device.kept();
    assert_eq!(kept.len(), 1);
}

#[test]
fn test_the_dma_address_reads_as_a_signature() {
    let device = device();
    let word = |offset| {
        let mut word = [0; 4];
        device.read(offset, &mut word);
        word
    };
    assert_eq!((&word(DMA_HIGH), &word(DMA_LOW)), (b"QEMU", b" CFG"));
    assert_eq!(&word(DMA_LOW + 2), b"FG\0\0");
}

#[test]
fn test_invalid_files_are_refused() {
    let mut items = FwCfgItems::default();
    assert!(items.add_file(&"n".repeat(MAX_FILE_NAME), Vec::new()).is_ok());
    for name in ["", &"n".repeat(MAX_FILE_NAME + 1), "opt/ä", "opt/a b", &"n".repeat(MAX_FILE_NAME)] {
        assert_eq!(items.add_file(name, Vec::new()).unwrap_err().option(), "fwCfg", "{name}");
    }
}

proptest! {
    #[test]
    fn test_no_sequence_of_accesses_hurts(
        accesses in prop::collection::vec((any::<bool>(), 0u64..12, prop::sample::select(vec![1usize, 2, 4]), any::<[u8; 4]>()), 0..64),
        description in any::<[u8; 16]>(),
    ) {
        let device = device();
        for (write, offset, len, mut bytes) in accesses {
            device.ram.write_slice(&description, GuestAddress(0x1000)).unwrap();
            if write {
                device.write(offset, &bytes[..len]);
            } else {
                device.read(offset, &mut bytes[..len]);
            }
            device.write(DMA_LOW, &0x1000u32.to_be_bytes());
        }
    }
}
