//! Fuzzes fw_cfg with accesses of any width and place, and with DMA transfers that stops interrupt.
#![no_main]

use kvm_accel::GuestRam;
use kvm_accel_machine::bus::BusDevice;
use kvm_accel_machine::devices::{FW_CFG_PORTS, FwCfg, FwCfgItems};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::ram;
use kvm_accel_machine::virtio::testing::Input;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use vm_memory::{Bytes, GuestAddress};

/// The address of the descriptions of transfers.
const DESCRIPTION: u64 = 0x1000;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;

static DEVICE: LazyLock<(FwCfg, GuestRam)> = LazyLock::new(|| {
    let layout = RamLayout::new(4 << 20).expect("the size is valid");
    let ram = ram::allocate(&layout, &Default::default()).expect("there is memory");
    let mut items = FwCfgItems::of_machine(&layout, 1);
    // Two and a half slices.
    items.add_file("opt/large", vec![7; 5 << 19]).expect("the name is valid");
    items.add_file("opt/small", b"small".to_vec()).expect("the name is valid");
    (FwCfg::new(items, ram.clone()), ram)
});

fuzz_target!(|input: &[u8]| {
    let (device, ram) = &*DEVICE;
    device.reset();
    let mut input = Input(input);
    while !input.0.is_empty() {
        let [step, offset, width] = input.take();
        let width = 1_usize << (width % 4);
        let offset = u64::from(offset) % (u64::from(FW_CFG_PORTS) - width as u64 + 1);
        match step % 8 {
            0 | 1 => drop(device.write(offset, &input.take::<8>()[..width])),
            2 | 3 => device.read(offset, &mut [0; 8][..width]),
            step @ (4 | 5) => {
                // Control, length and address, big-endian: most transfers are at most 4 MiB long and in RAM.
                let [c0, c1, c2, c3, l1, l2, a1, a2] = input.take();
                let target = u64::from(u16::from_be_bytes([a1, a2])) << 6;
                let description = [&[c0, c1, c2 & 1, c3, 0, l1 & 0x3f, l2, c2][..], &target.to_be_bytes()].concat();
                ram.write_slice(&description, GuestAddress(DESCRIPTION)).expect("it is in RAM");
                if step == 5 {
                    device.interrupt();
                }
                device.write(DMA_HIGH, &[0; 4]);
                device.write(DMA_LOW, &(DESCRIPTION as u32).to_be_bytes());
                let control = u32::from_be(ram.read_obj(GuestAddress(DESCRIPTION)).expect("it is in RAM"));
                let asked = u32::from_be_bytes([c0, c1, c2 & 1, c3]);
                let overwritten = target < DESCRIPTION + 4 && target + (4 << 20) > DESCRIPTION;
                assert!(overwritten || control <= 1 || control == asked, "the result is {control:#x}");
                device.resume();
                device.complete();
            }
            6 => device.reset(),
            _ => {
                let ([high], low) = (input.take(), input.take::<4>());
                device.write(DMA_HIGH, &[0, 0, 0, high]);
                device.write(DMA_LOW, &low);
            }
        }
    }
});
