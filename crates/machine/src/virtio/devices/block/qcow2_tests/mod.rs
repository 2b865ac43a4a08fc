#![allow(clippy::unwrap_used, clippy::panic)]

mod header;
mod qemu_img;
mod tables;

use super::tests::{FLUSH, Guest, Temporary, pattern};
use super::{Block, DiskConfig, ImageFormat};
use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::{FormatCreateBuilder, StorageCreateOptions};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use virtio_bindings::virtio_blk::*;

/// Creates an empty image of 1 MiB in a temporary file, with a backing image if `backing` names one.
fn create(backing: Option<&Path>) -> Temporary {
    let file = Temporary::new(&[]);
    create_at(&file.0, 1 << 20, backing);
    file
}

/// Creates an empty image with a raw backing image.
pub fn create_at(path: &Path, size: u64, backing: Option<&Path>) {
    create_over(path, size, backing.map(|backing| (backing, "raw")));
}

/// Creates an empty image over a backing image of a format.
fn create_over(path: &Path, size: u64, backing: Option<(&Path, &str)>) {
    create_with(path, size, backing, 64 << 10);
}

/// Creates an empty image with clusters of this many bytes.
fn create_with(path: &Path, size: u64, backing: Option<(&Path, &str)>, cluster: usize) {
    let options = StorageCreateOptions::new().filename(path).overwrite(true);
    let storage = <Storage as imago::Storage>::create_open(options).unwrap();
    let mut builder = Qcow2::<Storage>::create_builder(storage).size(size).cluster_size(cluster);
    if let Some((backing, format)) = backing {
        builder = builder.backing(backing.to_str().unwrap().into(), format.into());
    }
    builder.create().unwrap();
}

fn config(file: &Temporary) -> DiskConfig {
    DiskConfig { format: Some(ImageFormat::Qcow2), discard: true, ..file.config() }
}

#[test]
fn what_was_flushed_is_there_for_the_next_machine() {
    let file = create(None);
    let before = std::fs::metadata(&file.0).unwrap().len();
    assert!(before < 512 << 10, "an empty image is small: {before}");
    let block = Block::new(config(&file)).unwrap();
    let mut guest = Guest::new(&block, FLUSH);
    assert_eq!(guest.write(100, &pattern(4096)), 0);
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    // Simulates that the process was killed: the image is not closed.
    let flushed = Temporary::new(&file.bytes());
    assert_eq!(guest.read(100, 4096), (0, pattern(4096)));
    let mut again = Guest::new(&Block::new(config(&flushed)).unwrap(), FLUSH);
    assert_eq!(again.read(100, 4096), (0, pattern(4096)));
    assert_eq!(again.read(2047, 512), (0, vec![0; 512]));
    assert_eq!(again.read(2048, 512).0, 1);
}

#[test]
fn zeroes_take_no_room_and_discarding_is_allowed() {
    let file = create(None);
    let mut guest = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
    assert_eq!(guest.write(0, &pattern(256 << 10)), 0);
    assert_eq!(guest.segment(VIRTIO_BLK_T_WRITE_ZEROES, 0, 200, 0), 0);
    assert_eq!(guest.segment(VIRTIO_BLK_T_WRITE_ZEROES, 200, 56, 1), 0);
    assert_eq!(guest.read(0, 128 << 10), (0, vec![0; 128 << 10]));
    assert_eq!(guest.segment(VIRTIO_BLK_T_DISCARD, 256, 256, 0), 0);
    assert_eq!(guest.read(512, 512).0, 0);
}

#[test]
fn an_image_shows_what_is_behind_it_and_leaves_it_alone() {
    let base = Temporary::new(&pattern(1 << 20));
    let file = create(Some(&base.0));
    let block = Block::new(config(&file)).unwrap();
    let refused = Block::new(base.config()).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    let mut guest = Guest::new(&block, FLUSH);
    assert_eq!(guest.read(3, 2048).1, pattern(1 << 20)[3 * 512..][..2048]);
    assert_eq!(guest.write(3, &[1; 512]), 0);
    assert_eq!(guest.read(3, 512), (0, vec![1; 512]));
    assert_eq!(guest.read(4, 512).1, pattern(1 << 20)[4 * 512..][..512]);
    assert_eq!(base.bytes(), pattern(1 << 20));
}

/// Writes bytes into an image file.
fn patch(file: &Temporary, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(&file.0).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Returns the message of an image that is refused, and checks that opening it changed nothing.
fn refused(file: &Temporary, read_only: bool) -> String {
    let before = file.bytes();
    let error = Block::new(DiskConfig { read_only, ..config(file) }).unwrap_err();
    assert_eq!(error.code(), "ERR_MACHINE_CONFIG");
    assert!(error.remedy().ends_with('.'));
    assert_eq!(file.bytes(), before);
    format!("{error}. {}", error.remedy())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_image_with_changed_bytes_is_refused_or_stays_consistent(changes in prop::collection::vec((0_usize..1 << 18, any::<u8>()), 1..40)) {
        let file = create(None);
        {
            let mut guest = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
            guest.write(100, &pattern(4096));
            guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]);
        }
        let mut bytes = file.bytes();
        let len = bytes.len();
        for (at, value) in changes {
            // Half of the changes are in the header, the others anywhere in the tables.
            let at = if at % 2 == 0 { at % 104 } else { at % len };
            bytes[at] = value;
        }
        std::fs::write(&file.0, bytes).unwrap();
        if let Ok(block) = Block::new(config(&file)) {
            let mut guest = Guest::new(&block, FLUSH);
            guest.read(100, 4096);
            guest.write(200, &pattern(4096));
            guest.segment(VIRTIO_BLK_T_DISCARD, 0, 1000, 0);
            guest.segment(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1000, 1);
            assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
            let (status, bytes) = guest.read(0, 512 << 10);
            drop((guest, block));
            assert!(file.bytes().len() < 4 << 20);
            let mut again = Guest::new(&Block::new(config(&file)).unwrap(), FLUSH);
            let (status_again, bytes_again) = again.read(0, 512 << 10);
            assert_eq!(status_again, status);
            assert!(status != 0 || bytes_again == bytes);
        }
    }
}
