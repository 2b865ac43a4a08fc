//! The layout of a statistics file, as the kernel describes it: a header of 24 bytes, then descriptors, then blocks of u64, all in the
//! host's byte order. What is unknown is left out, so that a newer kernel's additions do no harm.

use super::{Result, StatsError};

/// Bytes of the header.
pub(super) const HEADER_SIZE: usize = 24;
/// Bytes of a descriptor before its name.
const DESCRIPTOR_SIZE: usize = 16;
/// The most that descriptors or data may take. Kernels of today need 3 KiB; nothing larger is allocated on a file's word.
const LIMIT: usize = 1 << 20;

/// What a statistic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// Only ever grows.
    Cumulative,
    /// As it is now.
    Instant,
    /// The largest so far.
    Peak,
    /// A distribution in buckets of equal width.
    LinearHistogram {
        /// The width, in the statistic's unit.
        bucket_size: u32,
    },
    /// A distribution in buckets of which each is twice as wide as the one before.
    Log2Histogram,
}

impl StatKind {
    /// QEMU's name.
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

    /// Whether it has buckets instead of one value.
    #[must_use]
    pub const fn is_histogram(self) -> bool {
        matches!(self, Self::LinearHistogram { .. } | Self::Log2Histogram)
    }
}

/// What is counted or measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatUnit {
    /// Events, pages, or whatever the name says.
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
    /// QEMU's name; `None` without a unit.
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

/// What the exponent is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatBase {
    /// Powers of ten: nanoseconds are 10 to the -9 seconds.
    Ten,
    /// Powers of two: KiB are 2 to the 10 bytes.
    Two,
}

impl StatBase {
    /// 10 or 2.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        match self {
            Self::Ten => 10,
            Self::Two => 2,
        }
    }
}

/// One statistic: a value of it times `base` to the `exponent` is in `unit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatDescriptor {
    /// The kernel's name.
    pub name: String,
    /// What it is.
    pub kind: StatKind,
    /// What it counts.
    pub unit: StatUnit,
    /// What the exponent is of.
    pub base: StatBase,
    /// The scale.
    pub exponent: i16,
    /// The number of values: that of buckets for a histogram, else 1.
    pub size: usize,
    /// Where the values begin, in bytes from the start of the data block.
    pub(super) offset: usize,
}

/// All statistics of a VM or of a vCPU, in the kernel's order. The same for every machine of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSchema {
    /// The statistics this crate knows how to read.
    pub descriptors: Vec<StatDescriptor>,
    /// Where the data block begins in the file.
    pub(super) data_offset: u64,
    /// Its length as far as it is read, in bytes.
    pub(super) data_len: usize,
}

/// Where the descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    name_size: usize,
    pub descriptors_offset: u64,
    /// Bytes of all descriptors.
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

/// Checks that a read got all it asked for.
pub(super) fn complete(part: &'static str, expected: usize, actual: usize) -> Result<()> {
    if actual == expected { Ok(()) } else { Err(short(part, expected, actual)) }
}

/// A length that may be allocated on the file's word.
fn bounded(part: &'static str, len: Option<usize>) -> Result<usize> {
    len.filter(|&len| len <= LIMIT).ok_or_else(|| StatsError::Format {
        part,
        expected: format!("at most {LIMIT} bytes"),
        actual: len.map_or_else(|| "more than an address space".into(), |len| len.to_string()),
    })
}

impl Header {
    /// Reads the first [`HEADER_SIZE`] bytes. Its flags mean nothing yet and are not looked at.
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
    /// Reads the descriptors that `header` announced.
    pub(super) fn parse(header: Header, bytes: &[u8]) -> Result<Self> {
        complete("descriptors", header.descriptors_len, bytes.len())?;
        let descriptors: Vec<_> =
            bytes.chunks_exact(DESCRIPTOR_SIZE + header.name_size).filter_map(descriptor).collect();
        let data_len = descriptors.iter().map(|d| d.offset.saturating_add(d.size * 8)).max().unwrap_or(0);
        Ok(Self { descriptors, data_offset: header.data_offset, data_len: bounded("data", Some(data_len))? })
    }
}

/// One descriptor; `None` for a type, unit or base that is not known here, and for one without name or values.
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
