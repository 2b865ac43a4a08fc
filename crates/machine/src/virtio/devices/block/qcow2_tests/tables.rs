//! Tables that contradict each other: a guest must not get a way to write them.

use super::*;

/// Bytes of a cluster of these images.
const CLUSTER: u64 = 512;

/// The places of the tables of an image.
struct Places {
    l1: u64,
    refcount_table: u64,
    refcount_block: u64,
    l2: u64,
    data: u64,
}

fn long(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;

/// Creates an image of 64 KiB in clusters of 512 bytes, whose first cluster is written.
fn small() -> (Temporary, Places) {
    let file = Temporary::new(&[]);
    create_with(&file.0, 64 << 10, None, usize::try_from(CLUSTER).unwrap());
    let mut guest = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
    assert_eq!(guest.write(0, &pattern(512)), 0);
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    let bytes = file.bytes();
    let (l1, refcount_table) = (long(&bytes, 40), long(&bytes, 48));
    let l2 = long(&bytes, l1) & OFFSET;
    let places = Places {
        l1,
        refcount_table,
        refcount_block: long(&bytes, refcount_table),
        l2,
        data: long(&bytes, l2) & OFFSET,
    };
    (file, places)
}

#[test]
fn an_entry_that_refers_to_tables_or_outside_the_file_is_refused_for_writing() {
    let (_, places) = small();
    let Places { l1, refcount_table, refcount_block, l2, data } = places;
    let reserved = "with reserved bits set";
    for (at, value, message) in [
        (l2 + 8, COPIED | l1, "byte 0x200 refers to 0x600, which contains an L1 table"),
        (l2 + 8, COPIED | refcount_table, "which contains the refcount table"),
        (l2 + 8, COPIED | refcount_block, "which contains a refcount block"),
        (l2 + 8, COPIED | l2, "which contains an L2 table"),
        (l2 + 8, l2, "which contains an L2 table"),
        (l2 + 8, 1 << 62 | l1, "which contains an L1 table"),
        (l2 + 8, 1 << 62 | 0x3fff_ffff, "behind the end of the file"),
        (l2 + 8, COPIED | 1 << 40, "behind the end of the file"),
        (l2 + 8, COPIED | data | 2, reserved),
        (l2 + 8, COPIED | data | 1 << 60, reserved),
        (l2 + 8, COPIED | data, "and 2 table entries refer to it"),
        (l2 + 8, data, "and 2 table entries refer to it"),
        (l1, COPIED | l1, "entry 0 of the L1 table refers to"),
        (l1, COPIED | refcount_block, "which contains a refcount block"),
        (l1, COPIED | 1 << 30, "behind the end of the file"),
        (l1, COPIED | l2 | 1, reserved),
        (l1 + 8, COPIED | l2, "and 2 table entries refer to it"),
        (refcount_table, l1, "which contains an L1 table"),
        (refcount_table, refcount_table, "which contains the refcount table"),
        (refcount_table, 1 << 30, "behind the end of the file"),
        (refcount_table, refcount_block | 4, reserved),
        (refcount_table, 0, "is 0, and 1 table entries refer to it"),
        (refcount_table + 16, refcount_block, "refcount table has gaps"),
        // The refcounts of the header, the refcount table and so on become 0.
        (refcount_block, 0, "the refcount of the cluster at 0x0 is 0"),
        (40, 0x400, "refers to 0x"),
        (48, l1, "the header refers to"),
    ] {
        let (file, _) = small();
        patch(&file, at, &value.to_be_bytes());
        let error = refused(&file, false);
        assert!(error.contains("corrupt qcow2 image: ") || error.contains("gaps"), "{at:#x}: {error}");
        assert!(error.contains(message), "{at:#x} = {value:#x}: {error}");
        assert!(error.contains("qemu-img"), "{error}");
    }
}

#[test]
fn refcounts_behind_the_end_of_the_file_do_not_make_the_file_grow_without_bound() {
    let (file, Places { refcount_block, .. }) = small();
    // All of the 256 clusters of the block. The image of 128 clusters has few of them yet.
    patch(&file, refcount_block, &[0, 1].repeat(256));
    let error = refused(&file, false);
    assert!(error.contains("clusters behind the end of the file: the whole disk needs"), "{error}");
}

#[test]
fn leaked_clusters_are_no_error() {
    let (file, Places { refcount_block, .. }) = small();
    let clusters = u64::try_from(file.bytes().len()).unwrap() / CLUSTER;
    patch(&file, refcount_block + 2 * clusters, &[0, 1].repeat(16));
    let mut guest = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
    for sector in 0..128 {
        assert_eq!(guest.write(sector, &pattern(512)), 0);
    }
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    assert!(file.bytes().len() < 128 << 10, "{}", file.bytes().len());
    assert_eq!(guest.read(77, 512), (0, pattern(512)));
}

#[test]
fn a_whole_disk_written_twice_needs_no_more_than_its_size() {
    let (file, _) = small();
    for _ in 0..2 {
        let mut guest = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
        for sector in (0..128).rev() {
            assert_eq!(guest.write(sector, &pattern(512)), 0);
            assert_eq!(guest.segment(VIRTIO_BLK_T_DISCARD, (sector + 7) % 128, 1, 0), 0);
            assert_eq!(guest.write(sector, &pattern(512)), 0);
        }
        assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    }
    assert!(file.bytes().len() <= 128 * 512 + (16 << 9), "{}", file.bytes().len());
    Block::new(config(&file)).unwrap();
}

#[test]
fn a_corrupt_table_may_be_read_and_reading_changes_nothing() {
    let (file, Places { l1, l2, .. }) = small();
    patch(&file, l2 + 8, &(COPIED | l1).to_be_bytes());
    let before = file.bytes();
    let mut guest = Guest::new(&Block::new(DiskConfig { read_only: true, ..config(&file) }).unwrap(), FLUSH);
    assert_eq!(guest.read(0, 512), (0, pattern(512)));
    assert_eq!(guest.write(1, &[0xff; 512]), 1);
    drop(guest);
    assert_eq!(file.bytes(), before);
}
