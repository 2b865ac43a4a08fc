//! Headers that are refused, in an image and in its backing file.

use super::*;

/// A change of a header: offset, bytes, and a part of the message.
type Change = (u64, &'static [u8], &'static str);

/// Values that no user of an image may ignore.
const CHANGES: [Change; 32] = [
    (0, b"QFI\xfa", "is not a qcow2 image"),
    (4, &[0, 0, 0, 1], "of version 1: expected 2 or 3"),
    (4, &[0, 0, 0, 4], "of version 4: expected 2 or 3"),
    (8, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], "name lies outside the first cluster"),
    (8, &[0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0], "name has 1024 bytes: expected at most 1023"),
    (8, &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1], "name is not UTF-8"),
    (20, &[0, 0, 0, 8], "clusters of 2^8 bytes: expected 2^9 to 2^21"),
    (20, &[0, 0, 0, 22], "clusters of 2^22 bytes"),
    (24, &[0x10], "is larger than clusters of 65536 bytes allow"),
    (24, &[0xff], "is larger than clusters of 65536 bytes allow"),
    (32, &[0, 0, 0, 1], "is an encrypted qcow2 image (AES)"),
    (32, &[0, 0, 0, 2], "is an encrypted qcow2 image (LUKS)"),
    (32, &[0, 0, 0, 3], "is an encrypted qcow2 image (method 3)"),
    (36, &[0, 0, 0, 0], "the L1 table has 0 entries: the virtual size 1048576 needs 1"),
    (36, &[0xff; 4], "the L1 table has 4294967295 entries: expected at most 4194304"),
    (36, &[0, 0x20, 0, 0], "lies outside the file"),
    (40, &[0, 0, 0, 0, 0, 3, 2, 0], "the L1 table is at 0x30200: expected a multiple of the cluster size 65536"),
    (40, &[0, 0, 0, 1, 0, 0, 0, 0], "the L1 table at 0x100000000 lies outside the file"),
    (40, &[0; 8], "the L1 table overlaps the header"),
    (48, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], "the refcount table at 0xffffffffffff0000 lies outside the file"),
    (56, &[0; 4], "it has no refcount table"),
    (60, &[0, 1, 0, 1], "65537 snapshots: expected at most 65536"),
    (60, &[0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0, 0, 0], "the snapshot table at 0xff000000 lies outside the file"),
    (72, &[0, 0, 0, 0, 0, 0, 0, 1], "the dirty bit is set"),
    (72, &[0, 0, 0, 0, 0, 0, 0, 2], "the corrupt bit is set"),
    (72, &[0, 0, 0, 0, 0, 0, 0, 4], "with an external data file"),
    (72, &[0, 0, 0, 0, 0, 0, 0, 8], "with another compression than deflate"),
    (72, &[0, 0, 0, 0, 0, 0, 0, 0x10], "with extended L2 entries"),
    (72, &[0x80, 0, 0, 0, 0, 0, 0, 0], "with the unknown incompatible feature 63"),
    (96, &[0, 0, 0, 7], "refcounts of 2^7 bits: expected at most 2^6"),
    (100, &[0, 0, 0, 96], "a header of 96 bytes: expected a multiple of 8 from 104 to the cluster size 65536"),
    (100, &[0, 0, 0, 109], "a header of 109 bytes"),
];

#[test]
fn a_header_value_that_forbids_access_is_refused_also_for_reading_and_in_a_backing_file() {
    for (offset, bytes, message) in CHANGES {
        let file = create(None);
        patch(&file, offset, bytes);
        for read_only in [false, true] {
            let error = refused(&file, read_only);
            assert!(error.contains(message), "{offset}: {error}");
            assert!(error.contains(file.0.to_str().unwrap()), "{error}");
        }
        if offset == 0 {
            continue;
        }
        let overlay = Temporary::new(&[]);
        create_over(&overlay.0, 1 << 20, Some((&file.0, "qcow2")));
        let error = refused(&overlay, false);
        assert!(error.contains(message) && error.contains(&format!("the backing file of {}", overlay.0.display())));
    }
}

#[test]
fn a_file_that_ends_in_its_header_is_refused() {
    let whole = create(None).bytes();
    for len in [0, 3, 8, 71, 72, 103] {
        let file = Temporary::new(&whole[..len]);
        let error = refused(&file, false);
        let expected = if len < 4 { "is not a qcow2 image" } else { "is a corrupt qcow2 image" };
        assert!(error.contains(expected) || error.contains("of version"), "{len}: {error}");
    }
}

#[test]
fn a_backing_file_that_cannot_be_used_is_named_with_its_overlay() {
    let base = Temporary::new(&pattern(1 << 20));
    for (name, format, message) in [
        ("/nonexistent/base", "raw", "/nonexistent/base cannot be opened"),
        ("nbd://localhost/x", "raw", "has the backing file 'nbd://localhost/x', which is not a file"),
        ("json:{}", "raw", "has the backing file 'json:{}', which is not a file"),
        (base.0.to_str().unwrap(), "vmdk", "has the unsupported format 'vmdk': expected 'raw' or 'qcow2'"),
        (base.0.to_str().unwrap(), "qcow2", "is not a qcow2 image"),
    ] {
        let overlay = Temporary::new(&[]);
        create_over(&overlay.0, 1 << 20, Some((Path::new(name), format)));
        let error = refused(&overlay, false);
        assert!(error.contains(message) && error.contains(overlay.0.to_str().unwrap()), "{error}");
    }
    let itself = Temporary::new(&[]);
    create_over(&itself.0, 1 << 20, Some((&itself.0, "qcow2")));
    let error = refused(&itself, true);
    assert!(error.contains("more than 32 backing files, or backs itself"), "{error}");
}

#[test]
fn a_backing_file_without_a_format_is_detected_and_a_stated_format_counts() {
    // The guest of the base image wrote a qcow2 header that names a file of the host.
    let secret = Temporary::new(&[b's'; 4096]);
    let planted = Temporary::new(&[]);
    create_over(&planted.0, 1 << 20, Some((&secret.0, "raw")));
    for (version, format) in [(3, "raw"), (2, "raw")] {
        let overlay = Temporary::new(&[]);
        create_over(&overlay.0, 1 << 20, Some((&planted.0, format)));
        if version == 2 {
            // In version 2, the extensions follow a shorter header.
            let mut bytes = overlay.bytes();
            let tail = bytes[104..1024].to_vec();
            bytes[72..72 + tail.len()].copy_from_slice(&tail);
            bytes[7] = 2;
            let name = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) - 32;
            bytes[8..16].copy_from_slice(&name.to_be_bytes());
            std::fs::write(&overlay.0, bytes).unwrap();
        }
        let mut guest = Guest::new(&Block::new(config(&overlay)).unwrap(), FLUSH);
        assert_eq!(guest.read(0, 512), (0, planted.bytes()[..512].to_vec()), "version {version}");
    }
    for (magic, message) in [(&b"KDMV"[..], "begins or ends like a VMDK image"), (b"conectix", "VPC")] {
        let foreign = Temporary::new(&[magic, &[0; 1024]].concat());
        let overlay = Temporary::new(&[]);
        create_over(&overlay.0, 1 << 20, Some((&foreign.0, "raw")));
        Block::new(config(&overlay)).unwrap();
        // Changes the type of the extension, so that no format is stated.
        let mut bytes = overlay.bytes();
        let at = bytes.windows(4).position(|word| word == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
        bytes[at] = 0x12;
        std::fs::write(&overlay.0, bytes).unwrap();
        let error = refused(&overlay, false);
        assert!(error.contains(message), "{error}");
    }
}
