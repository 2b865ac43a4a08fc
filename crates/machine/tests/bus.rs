//! Accesses reach the devices that claim them, whole or in pieces.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use kvm_accel::{Bus, Request};
use kvm_accel_machine::bus::{BusBuilder, BusDevice};
use kvm_accel_machine::devices::{DEBUG_EXIT_IOBASE, DEBUG_EXIT_IOSIZE, DebugExit};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

/// Answers reads with the offset, and records every access.
#[derive(Default)]
struct Recorder(Mutex<Vec<(u64, Vec<u8>)>>);

impl Recorder {
    fn take(&self) -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl BusDevice for Recorder {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = at.to_le_bytes()[0];
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        self.0.lock().unwrap().push((offset, data.to_vec()));
        None
    }
}

#[test]
fn unclaimed_reads_are_all_ones_and_writes_are_ignored() {
    let bus = BusBuilder::new().build().unwrap();
    let mut data = [0; 8];
    bus.mmio_read(u64::MAX - 3, &mut data);
    assert_eq!(data, [0xff; 8]);
    let mut data = [0; 4];
    bus.pio_read(0xffff, &mut data);
    assert_eq!(data, [0xff; 4]);
    assert_eq!(bus.pio_write(0x80, &[1]), None);
    assert_eq!(bus.mmio_write(0xff00_0000, &[1; 8]), None);
}

#[test]
fn ports_and_memory_are_apart() {
    let device = Arc::new(Recorder::default());
    let bus = BusBuilder::new().ports("a", 0x10, 4, device.clone()).build().unwrap();
    bus.mmio_write(0x10, &[1]);
    assert!(device.take().is_empty());
    bus.pio_write(0x12, &[1, 2]);
    assert_eq!(device.take(), [(2, vec![1, 2])]);
}

#[test]
fn an_access_across_the_end_of_a_claim_is_carried_out_in_pieces() {
    let (first, second) = (Arc::new(Recorder::default()), Arc::new(Recorder::default()));
    let bus = BusBuilder::new()
        .ports("second", 0x13, 1, second.clone())
        .ports("first", 0x10, 3, first.clone())
        .build()
        .unwrap();
    bus.pio_write(0x10, &[1, 2, 3, 4]);
    assert_eq!(first.take(), [(0, vec![1, 2]), (2, vec![3])]);
    assert_eq!(second.take(), [(0, vec![4])]);
    let mut data = [0; 4];
    bus.pio_read(0x12, &mut data);
    assert_eq!(data, [2, 0, 0xff, 0xff]);
}

#[test]
fn claims_that_overlap_or_leave_the_address_space_are_refused() {
    let claim = |base, len| BusBuilder::new().ports("debug", base, len, Arc::new(Recorder::default()));
    let error = claim(0x3f8, 1).ports("serial", 0x3f0, 9, Arc::new(Recorder::default())).build().unwrap_err();
    assert_eq!((error.code(), error.option()), ("ERR_MACHINE_CONFIG", "device"));
    assert!(error.to_string().contains("overlaps"), "{error}");
    assert!(claim(0x3f8, 1).ports("serial", 0x3f0, 8, Arc::new(Recorder::default())).build().is_ok());
    assert!(claim(0xffff, 1).build().is_ok());
    assert!(claim(0xffff, 2).build().is_err());
    assert!(claim(0, 0x1_0000).build().is_ok());
    assert!(claim(0, 0).build().is_err());
    let memory = |base, len| BusBuilder::new().memory("m", base, len, Arc::new(Recorder::default())).build();
    assert!(memory(u64::MAX, 1).is_ok());
    assert!(memory(u64::MAX, 2).is_err());
}

#[test]
fn the_debug_exit_device_hands_over_1_2_and_4_bytes() {
    let device = DebugExit::new(0xf4, 4).unwrap();
    let bus = BusBuilder::new().ports("exit", device.iobase(), device.iosize(), Arc::new(device)).build().unwrap();
    for (data, value) in [(&[1][..], 1), (&[0x34, 0x12], 0x1234), (&[0x78, 0x56, 0x34, 0x12], 0x1234_5678)] {
        assert_eq!(bus.pio_write(0xf4, data), Some(Request::DebugExit { value }));
    }
    let mut data = [0xff; 4];
    bus.pio_read(0xf4, &mut data);
    assert_eq!(data, [0; 4]);
}

#[test]
fn a_wide_write_to_a_narrow_debug_exit_device_counts_what_it_covers() {
    let device = DebugExit::new(DEBUG_EXIT_IOBASE, DEBUG_EXIT_IOSIZE).unwrap();
    let bus = BusBuilder::new().ports("exit", device.iobase(), device.iosize(), Arc::new(device)).build().unwrap();
    assert_eq!(bus.pio_write(0x501, &[1, 2, 3, 4]), Some(Request::DebugExit { value: 0x0201 }));
    assert_eq!(bus.pio_write(0x500, &[1, 2]), Some(Request::DebugExit { value: 2 }));
}

#[test]
fn a_debug_exit_device_lies_within_the_ports() {
    for (iobase, iosize) in [(0x1_0000, 1), (0xffff, 2), (0xf4, 0), (0, 0x1_0001), (u32::MAX, u32::MAX)] {
        let error = DebugExit::new(iobase, iosize).unwrap_err();
        assert_eq!((error.code(), error.option()), ("ERR_MACHINE_CONFIG", "debugExit"));
    }
    assert!(DebugExit::new(0, 0x1_0000).is_ok());
}

proptest! {
    /// For any layout of claims: a read returns each byte from its owner, and a write reaches each owner byte for byte.
    #[test]
    fn every_byte_belongs_to_its_claim(
        widths in prop::collection::vec((0u16..4, 1u16..6), 0..8),
        port in 0u16..48,
        len in prop::sample::select(vec![1usize, 2, 4]),
    ) {
        let device = Arc::new(Recorder::default());
        let mut owners = [None; 128];
        let mut builder = BusBuilder::new();
        let mut next = 0;
        for (gap, width) in widths {
            let base = next + gap;
            builder = builder.ports("d", base, width.into(), device.clone());
            for offset in 0..width {
                owners[usize::from(base + offset)] = Some(offset.to_le_bytes()[0]);
            }
            next = base + width;
        }
        let bus = builder.build().unwrap();
        let expected: Vec<u8> = owners[usize::from(port)..].iter().take(len).map(|owner| owner.unwrap_or(0xff)).collect();
        let mut data = vec![0x55; len];
        bus.pio_read(port, &mut data);
        prop_assert_eq!(&data, &expected);

        bus.pio_write(port, &[7; 4][..len]);
        let accesses = device.take();
        prop_assert!(accesses.iter().all(|(_, data)| data.len().is_power_of_two()));
        let written: usize = accesses.iter().map(|(_, data)| data.len()).sum();
        prop_assert_eq!(written, owners[usize::from(port)..].iter().take(len).flatten().count());
    }
}
