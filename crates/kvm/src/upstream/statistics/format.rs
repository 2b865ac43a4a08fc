//! The layout of a statistics file, as the kernel describes it: a header of 24 bytes, then descriptors, then blocks of
//! u64, all in the host's byte order. Unknown statistics are skipped, so additions of a newer kernel do no harm.

use super::{Result, StatsError};

/// Size of the header in bytes.
pub(super) const HEADER_SIZE: usize = 24;
/// Size of a descriptor in bytes, without its name.
const DESCRIPTOR_SIZE: usize = 16;
/// Maximum size of descriptors or data. Today's kernels need 3 KiB. A larger size in a file is rejected, not allocated.
const LIMIT: usize = 1 << 20;

/// The kind of a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// A value that only grows.
    Cumulative,
    /// The current value.
    Instant,
    /// The largest value so far.
    Peak,
    /// A distribution in buckets of equal width.
    LinearHistogram {
        /// The width, in the statistic's unit.
        bucket_size: u32,
    },
    /// A distribution in buckets, each twice as wide as the previous one.
    Log2Histogram,
}

impl StatKind {
    /// Returns QEMU's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cumulative => "cumulative",
            Self::Instant => "instant",
            Self::Peak => "peak",
            Self::LinearHistogram { .. } => "linear-histogram",
            Self::Log2Histogram => "log2-histogram",
        }
    }

    /// Returns whether the statistic has buckets instead of one value.
    #[must_use]
    pub const fn is_histogram(self) -> bool {
        matches!(self, Self::LinearHistogram { .. } | Self::Log2Histogram)
    }
}

/// The unit of a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatUnit {
    /// No unit: events, pages, or what the name states.
    None,
    /// Bytes.
    Bytes,
    /// Seconds, scaled by base and exponent.
    Seconds,
    /// Clock cycles.
    Cycles,
    /// 0 or 1.
    Boolean,
}

impl StatUnit {
    /// Returns QEMU's name; `None` without a unit.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Bytes => Some("bytes"),
            Self::Seconds => Some("seconds"),
            Self::Cycles => Some("cycles"),
            Self::Boolean => Some("boolean"),
        }
    }
}

/// The base of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatBase {
    /// Powers of ten: nanoseconds are 10 to the -9 seconds.
    Ten,
    /// Powers of two: KiB are 2 to the 10 bytes.
    Two,
}

impl StatBase {
    /// Returns 10 or 2.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        match self {
            Self::Ten => 10,
            Self::Two => 2,
        }
    }
}

/// One statistic. Its value times `base` to the power of `exponent` is in `unit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatDescriptor {
    /// The kernel's name.
    pub name: String,
    /// The kind.
    pub kind: StatKind,
    /// The unit.
    pub unit: StatUnit,
    /// The base of the exponent.
    pub base: StatBase,
    /// The exponent.
    pub exponent: i16,
    /// The number of values: the number of buckets for a histogram, otherwise 1.
    pub size: usize,
    /// Offset of the values in bytes from the start of the data block.
    pub(super) offset: usize,
}

/// All statistics of a VM or of a vCPU, in the kernel's order. The same for every machine of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSchema {
    /// The statistics that this crate can read.
    pub descriptors: Vec<StatDescriptor>,
    /// Offset of the data block in the file.
    pub(super) data_offset: u64,
    /// Length of the part of the data block that is read, in bytes.
    pub(super) data_len: usize,
}

/// The location of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    name_size: usize,
    pub descriptors_offset: u64,
    /// Length of all descriptors in bytes.
    pub descriptors_len: usize,
    data_offset: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn short(part: &'static str, expected: usize, actual: usize) -> StatsError {
    StatsError::Format { part, expected: format!("{expected} bytes"), actual: format!("{actual}") }
}

/// Checks that a read returned all requested bytes.
pub(super) fn complete(part: &'static str, expected: usize, actual: usize) -> Result<()> {
    if actual == expected { Ok(()) } else { Err(short(part, expected, actual)) }
}

/// Checks a length from the file against [`LIMIT`] before it is allocated.
fn bounded(part: &'static str, len: Option<usize>) -> Result<usize> {
    len.filter(|&len| len <= LIMIT).ok_or_else(|| StatsError::Format {
        part,
        expected: format!("at most {LIMIT} bytes"),
        actual: len.map_or_else(|| "more than an address space".into(), |len| len.to_string()),
    })
}

impl Header {
    /// Parses the first [`HEADER_SIZE`] bytes. Ignores the flags, which have no meaning yet.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let field = |n: usize| u32_at(bytes, n * 4).ok_or_else(|| short("header", HEADER_SIZE, bytes.len()));
        let [name_size, count] = [field(1)?, field(2)?].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let descriptors_len = name_size.checked_add(DESCRIPTOR_SIZE).and_then(|size| size.checked_mul(count));
        Ok(Self {
            name_size,
            descriptors_len: bounded("descriptors", descriptors_len)?,
            descriptors_offset: field(4)?.into(),
            data_offset: field(5)?.into(),
        })
    }
}

impl StatsSchema {
    /// Parses the descriptors that `header` describes.
    pub(super) fn parse(header: Header, bytes: &[u8]) -> Result<Self> {
        complete("descriptors", header.descriptors_len, bytes.len())?;
        let descriptors: Vec<_> =
            bytes.chunks_exact(DESCRIPTOR_SIZE + header.name_size).filter_map(descriptor).collect();
        let data_len = descriptors.iter().map(|d| d.offset.saturating_add(d.size * 8)).max().unwrap_or(0);
        Ok(Self { descriptors, data_offset: header.data_offset, data_len: bounded("data", Some(data_len))? })
    }
}

/// Parses one descriptor. Returns `None` for an unknown type, unit or base, and for a descriptor without name or
/// values.
fn descriptor(bytes: &[u8]) -> Option<StatDescriptor> {
    let flags = u32_at(bytes, 0)?;
    let size = usize::from(u16_at(bytes, 6)?);
    let kind = match flags & 0xf {
        0 => StatKind::Cumulative,
        1 => StatKind::Instant,
        2 => StatKind::Peak,
        3 => StatKind::LinearHistogram { bucket_size: u32_at(bytes, 12)? },
        4 => StatKind::Log2Histogram,
        _ => return None,
    };
    let unit = match flags >> 4 & 0xf {
        0 => StatUnit::None,
        1 => StatUnit::Bytes,
        2 => StatUnit::Seconds,
        3 => StatUnit::Cycles,
        4 => StatUnit::Boolean,
        _ => return None,
    };
    let base = match flags >> 8 & 0xf {
        0 => StatBase::Ten,
        1 => StatBase::Two,
        _ => return None,
    };
    let name = bytes.get(DESCRIPTOR_SIZE..)?.split(|&byte| byte == 0).next().filter(|name| !name.is_empty())?;
    Some(StatDescriptor {
        name: String::from_utf8_lossy(name).into_owned(),
        kind,
        unit,
        base,
        exponent: u16_at(bytes, 4)?.cast_signed(),
        size: if kind.is_histogram() { size } else { size.min(1) },
        offset: usize::try_from(u32_at(bytes, 8)?).ok()?,
    })
    .filter(|descriptor| descriptor.size > 0)
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
