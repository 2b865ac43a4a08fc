use super::*;
use proptest::prelude::*;

fn header(name_size: u32, count: u32) -> Vec<u8> {
    [0, name_size, count, 24, 72, 1032].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn raw(flags: u32, exponent: i16, size: u16, offset: u32, bucket_size: u32, name: &str) -> Vec<u8> {
    let mut bytes = flags.to_ne_bytes().to_vec();
    bytes.extend(exponent.to_ne_bytes());
    bytes.extend(size.to_ne_bytes());
    bytes.extend(offset.to_ne_bytes());
    bytes.extend(bucket_size.to_ne_bytes());
    bytes.extend(name.as_bytes());
    bytes.resize(DESCRIPTOR_SIZE + 48, 0);
    bytes
}

fn parse(descriptors: &[Vec<u8>]) -> Result<StatsSchema> {
    let header = Header::parse(&header(48, u32::try_from(descriptors.len()).unwrap())).unwrap();
    StatsSchema::parse(header, &descriptors.concat())
}

#[test]
fn test_descriptors_become_types() {
    let schema = parse(&[
        raw(0, 0, 1, 0, 0, "exits"),
        raw(0x21, -9, 1, 8, 0, "halt_wait_ns"),
        raw(0x24, -9, 32, 16, 0, "halt_wait_hist"),
        raw(0x113, 10, 4, 272, 64, "sizes"),
        raw(0x41, 0, 1, 304, 0, "guest_mode"),
    ])
    .unwrap();
    let kinds: Vec<_> =
        schema.descriptors.iter().map(|d| (d.kind.as_str(), d.unit.as_str(), d.base.as_u32())).collect();
    assert_eq!(
        kinds,
        [
            ("cumulative", None, 10),
            ("instant", Some("seconds"), 10),
            ("log2-histogram", Some("seconds"), 10),
            ("linear-histogram", Some("bytes"), 2),
            ("instant", Some("boolean"), 10),
        ]
    );
    assert_eq!(schema.descriptors[3].kind, StatKind::LinearHistogram { bucket_size: 64 });
    assert_eq!(schema.descriptors[1].exponent, -9);
    assert_eq!((schema.data_offset, schema.data_len), (1032, 312));
}

#[test]
fn test_unknown_type_unit_or_base_is_left_out() {
    let unknown = [5, 0x50, 0x200].map(|flags| raw(flags, 0, 1, 0, 0, "new"));
    let known = raw(2, 0, 1, 8, 0, "max_mmu_rmap_size");
    let schema = parse(&[unknown.as_slice(), &[known]].concat()).unwrap();
    assert_eq!(schema.descriptors.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["max_mmu_rmap_size"]);
}

#[test]
fn test_short_data_is_an_error_with_the_expected_length() {
    let error = Header::parse(&[0; 23]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the kernel's statistics: expected 24 bytes of header, got 23");
    let header = Header::parse(&header(48, 2)).unwrap();
    let error = StatsSchema::parse(header, &[0; 100]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the kernel's statistics: expected 128 bytes of descriptors, got 100");
    assert_eq!(crate::Error::from(error).code(), "ERR_KVM_STATS");
}

#[test]
fn test_sizes_beyond_reason_are_refused_before_anything_is_allocated() {
    assert!(Header::parse(&header(u32::MAX, u32::MAX)).is_err());
    assert!(parse(&[raw(0, 0, 1, u32::MAX, 0, "far")]).is_err());
}

proptest! {
    #[test]
    fn test_any_bytes_are_survived(
        head in proptest::collection::vec(any::<u8>(), 0..32),
        name_size in 0u32..64,
        bytes in proptest::collection::vec(any::<u8>(), 0..2048),
    ) {
        let _ = Header::parse(&head);
        let count = u32::try_from(bytes.len() / (DESCRIPTOR_SIZE + name_size as usize)).unwrap();
        let parsed = Header::parse(&header(name_size, count)).unwrap();
        let schema = StatsSchema::parse(parsed, &bytes[..parsed.descriptors_len]);
        if let Ok(schema) = schema {
            for descriptor in &schema.descriptors {
                prop_assert!(descriptor.size > 0 && !descriptor.name.is_empty());
                prop_assert!(descriptor.offset + descriptor.size * 8 <= schema.data_len);
            }
        }
    }
}
