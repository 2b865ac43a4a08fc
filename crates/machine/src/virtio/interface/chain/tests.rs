#![allow(clippy::unwrap_used)]

use super::*;
use crate::devices::Irq;
use crate::virtio::interface::{Interrupt, VirtQueue};
use std::sync::Arc;
use virtio_queue::{Queue, QueueT};

const TABLE: u64 = 0x8000;
/// The size that the device offers, and the size that the driver has chosen.
const SIZES: (u16, u16) = (64, 16);

/// A descriptor of an indirect table: length, flags, next.
type Row = (u32, u16, u16);

/// Creates a queue with one chain, whose descriptors are in an indirect table. Their buffers begin at 0x1_0000 and do not overlap.
fn queue(rows: impl IntoIterator<Item = Row>) -> VirtQueue {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
    let (mut table, mut address) = (Vec::new(), 0x1_0000_u64);
    for (len, flags, next) in rows {
        table.extend(address.to_le_bytes());
        table.extend(len.to_le_bytes());
        table.extend([flags.to_le_bytes(), next.to_le_bytes()].concat());
        address += u64::from(len);
    }
    ram.write_slice(&table, GuestAddress(TABLE)).unwrap();
    ram.write_obj(TABLE, GuestAddress(0)).unwrap();
    ram.write_obj(u32::try_from(table.len()).unwrap(), GuestAddress(8)).unwrap();
    ram.write_obj(4_u16, GuestAddress(12)).unwrap();
    ram.write_obj(1_u16, GuestAddress(0x1002)).unwrap();
    let mut queue = Queue::new(SIZES.0).unwrap();
    queue.set_size(SIZES.1);
    queue.try_set_avail_ring_address(GuestAddress(0x1000)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(0x2000)).unwrap();
    queue.set_ready(true);
    VirtQueue::new(queue, ram, Arc::new(Interrupt::new(Irq::none()))).unwrap()
}

fn chain(rows: impl IntoIterator<Item = Row>) -> Result<Chain, String> {
    queue(rows).pop().map(Option::unwrap).map_err(|error| error.0)
}

/// Returns `count` consecutive descriptors of `len` bytes. `last` is the flags of the last one.
fn row(count: u16, len: u32, last: u16) -> impl Iterator<Item = Row> {
    (1..=count).map(move |next| (len, if next < count { 1 } else { last }, next))
}

#[test]
fn a_chain_holds_less_than_4_gib() {
    let largest = chain(row(3, u32::MAX / 3, 0)).unwrap();
    assert_eq!(largest.descriptors().map(|descriptor| u64::from(descriptor.len())).sum::<u64>(), u64::from(u32::MAX));
    for rows in [row(4, 1 << 30, 0), row(2, u32::MAX, 0)] {
        assert!(chain(rows).unwrap_err().contains("4 GiB"));
    }
}

#[test]
fn a_chain_is_not_longer_than_the_queue_that_the_device_offers() {
    // Linux sizes indirect tables by the limits that the device reports, also if it has made its queue smaller.
    assert_eq!(chain(row(64, 1, 0)).unwrap().descriptors().len(), 64);
    assert!(chain(row(65, 1, 0)).unwrap_err().contains("more than 64 descriptors"));
    // The table may be larger than the queue.
    let large = (0..1000).map(|index| (1, u16::from(index < 3), index + 1));
    assert_eq!(chain(large).unwrap().descriptors().len(), 4);
}

#[test]
fn a_chain_has_no_empty_buffer_and_its_writable_buffers_come_last() {
    for rows in [vec![(0, 0, 0)], vec![(8, 1, 1), (0, 2, 0)]] {
        assert!(chain(rows).unwrap_err().contains("buffer of 0 bytes"));
    }
    assert!(chain([(8, 3, 1), (8, 0, 0)]).unwrap_err().contains("readable buffer after a writable one"));
}

#[test]
fn a_chain_ends_in_its_table() {
    let broken: [Vec<Row>; 4] = [
        // A loop; a next descriptor outside the table; an indirect table in an indirect table; no descriptor.
        vec![(1, 1, 1), (1, 1, 0)],
        vec![(1, 1, 2), (1, 0, 0)],
        vec![(16, 4, 0)],
        vec![],
    ];
    for rows in broken {
        assert!(chain(rows.iter().copied()).is_err(), "{rows:?}");
    }
}

#[test]
fn a_loop_of_queue_descriptors_is_refused() {
    let mut queue = queue([(1, 0, 0)]);
    queue.memory().write_obj(1_u16, GuestAddress(12)).unwrap();
    assert!(queue.pop().unwrap_err().0.contains("loop"));
}

#[test]
fn parts_are_read_and_written_across_buffers() {
    let mut queue = queue([(3, 1, 1), (5, 1, 2), (2, 3, 3), (1, 3, 4), (4, 3, 5), (1, 2, 0)]);
    let chain = queue.pop().unwrap().unwrap();
    queue.memory().write_slice(b"abcdefgh", GuestAddress(0x1_0000)).unwrap();
    let mut reader = chain.reader().unwrap();
    let mut behind = reader.split_at(4).unwrap();
    assert_eq!((reader.available_bytes(), behind.available_bytes()), (4, 4));
    let (mut first, mut second) = (Vec::new(), Vec::new());
    reader.read_to_end(&mut first).unwrap();
    behind.read_to_end(&mut second).unwrap();
    assert_eq!((&*first, &*second), (&b"abcd"[..], &b"efgh"[..]));
    assert!(chain.reader().unwrap().split_at(9).is_err());

    let mut writer = chain.writer().unwrap();
    let mut behind = writer.split_at(3).unwrap();
    assert_eq!((chain.writable_bytes(), writer.available_bytes(), behind.available_bytes()), (8, 3, 5));
    assert!(writer.write_all(b"1234").is_err(), "only three bytes fit");
    behind.write_all(b"45678").unwrap();
    let mut written = [0; 8];
    queue.memory().read_slice(&mut written, GuestAddress(0x1_0008)).unwrap();
    assert_eq!(&written, b"12345678");
}

#[test]
fn a_driver_that_changes_its_descriptors_changes_nothing() {
    let mut queue = queue([(4, 1, 1), (4, 2, 0)]);
    let chain = queue.pop().unwrap().unwrap();
    queue.memory().write_slice(&[0xff; 32], GuestAddress(TABLE)).unwrap();
    assert_eq!(chain.reader().unwrap().available_bytes(), 4);
    chain.writer().unwrap().write_all(&[7; 4]).unwrap();
    assert_eq!(queue.memory().read_obj::<u32>(GuestAddress(0x1_0004)).unwrap(), 0x0707_0707);
}

#[test]
fn a_buffer_outside_ram_is_refused() {
    let far = chain([(0xf_0000, 1, 1), (1, 2, 0)]).unwrap();
    assert!(far.reader().is_ok());
    assert!(far.writer().unwrap_err().0.contains("outside RAM, at 0x100000"));
}
