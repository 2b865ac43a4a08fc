//! Images whose format is not stated.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::tests::{FLUSH, Guest, Temporary, pattern};
use super::{Block, DiskConfig, ImageFormat, create_qcow2};

/// Magic numbers, their offset in the first or from the last sector, and the format's name.
const FOREIGN: [(&[u8], usize, bool, &str); 8] = [
    (b"KDMV", 0, false, "VMDK"),
    (&[0x7f, 0x10, 0xda, 0xbe], 0x40, false, "VDI"),
    (b"vhdxfile", 0, false, "VHDX"),
    (b"conectix", 0, false, "VPC"),
    (b"conectix", 0, true, "VPC"),
    (b"QED\0", 0, false, "QED"),
    (b"LUKS\xba\xbe", 0, false, "LUKS"),
    (b"koly", 0, true, "DMG"),
];

const SECTORS: usize = 64;

fn place(magic: &[u8], offset: usize, last: bool) -> Vec<u8> {
    let mut bytes = pattern(SECTORS * 512);
    bytes[if last { (SECTORS - 1) * 512 } else { 0 } + offset..][..magic.len()].copy_from_slice(magic);
    bytes
}

#[test]
fn an_image_of_another_format_is_refused_with_the_way_to_convert_it_unless_it_is_stated_to_be_raw() {
    for (magic, offset, last, name) in FOREIGN {
        let file = Temporary::new(&place(magic, offset, last));
        for read_only in [false, true] {
            let error = Block::new(DiskConfig { read_only, ..file.config() }).unwrap_err();
            assert!(error.to_string().contains(&format!("begins or ends like a {name}")), "{error}");
            assert!(error.remedy().contains("qemu-img convert -O qcow2"), "{}", error.remedy());
        }
        let stated = DiskConfig { format: Some(ImageFormat::Raw), ..file.config() };
        let block = Block::new(stated).unwrap();
        assert_eq!(block.warnings(), []);
        let mut guest = Guest::new(&block, FLUSH);
        assert_eq!(guest.read(0, 512).1, file.bytes()[..512]);
        assert_eq!(guest.write(0, &file.bytes()[..512]), 0);
    }
}

#[test]
fn a_qcow2_image_without_a_format_is_opened_as_qcow2() {
    let file = Temporary::new(&[]);
    create_qcow2(&file.0, 1 << 20);
    let block = Block::new(file.config()).unwrap();
    assert_eq!(block.warnings(), []);
    let mut guest = Guest::new(&block, FLUSH);
    // The guest may write any header to its own disk.
    assert_eq!(guest.write(0, &file.bytes()[..512]), 0);
    assert_eq!(guest.read(2047, 512), (0, vec![0; 512]));
    assert_eq!(guest.read(2048, 512).0, 1);
}

#[test]
fn a_guest_cannot_change_what_the_next_start_detects() {
    let planted = {
        let file = Temporary::new(&[]);
        create_qcow2(&file.0, 1 << 20);
        file.bytes()
    };
    for ring in [true, false] {
        let file = Temporary::new(&pattern(SECTORS * 512));
        let block = Block::new(file.config()).unwrap();
        let [warning] = block.warnings() else { panic!("{:?}", block.warnings()) };
        assert_eq!(warning.code.as_str(), "DISK_FORMAT_DETECTED");
        assert!(warning.message.contains("State the format 'raw'"), "{warning:?}");
        let mut guest = if ring { Guest::new(&block, FLUSH) } else { Guest::without_ring(&block, FLUSH) };
        let mut writes: Vec<_> = FOREIGN
            .iter()
            .map(|(magic, offset, last, _)| {
                let bytes = place(magic, *offset, *last);
                let sector = if *last { SECTORS - 1 } else { 0 };
                (sector as u64, bytes[sector * 512..][..512].to_vec())
            })
            .collect();
        writes.push((0, planted[..512].to_vec()));
        writes.push((0, planted[..4096].to_vec()));
        writes.push((60, [&[0; 3 * 512][..], b"conectix", &[0; 504]].concat()));
        for (sector, bytes) in &writes {
            assert_eq!(guest.write(*sector, bytes), 1, "{sector} {:?}", &bytes[..8]);
            assert_eq!(file.bytes(), pattern(SECTORS * 512));
        }
        // Other writes of the same sectors, and the same bytes elsewhere, succeed.
        assert_eq!(guest.write(0, &[1; 4096]), 0);
        assert_eq!(guest.write(SECTORS as u64 - 2, &[2; 1024]), 0);
        assert_eq!(guest.write(1, &planted[..512]), 0);
        assert_eq!(guest.write(8, b"conectix".repeat(64).as_slice()), 0);
        assert_eq!(guest.read(0, 512), (0, vec![1; 512]));
        assert_eq!(guest.read(1, 512), (0, planted[..512].to_vec()));
        assert_eq!(guest.read(63, 512), (0, vec![2; 512]));
        drop((guest, block));
        let copy = Temporary::new(&file.bytes());
        assert_eq!(Block::new(copy.config()).unwrap().warnings().len(), 1, "it is detected as raw again");
    }
}

#[test]
fn a_disk_for_reading_has_no_warning_of_its_format() {
    let file = Temporary::new(&pattern(4096));
    let block = Block::new(DiskConfig { read_only: true, ..file.config() }).unwrap();
    assert_eq!(block.warnings(), []);
}
