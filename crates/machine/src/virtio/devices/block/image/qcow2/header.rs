//! Reads the header of a qcow2 image and refuses images that this program cannot use safely.
//!
//! The library that accesses the image checks only a part of the header, and reads some of it differently: it ignores the encryption
//! method, follows any external data file, and skips the header extensions of version 2.

use super::fault::Fault;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// QEMU's limits of the tables.
const MOST_L1_BYTES: u64 = 32 << 20;
const MOST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65536;
const LONGEST_NAME: u32 = 1023;

/// Bytes of the header in version 2, and the minimum in version 3.
const V2_HEADER: u64 = 72;
const V3_HEADER: u64 = 104;

/// The autoclear feature bit that states that persistent bitmaps are consistent.
const CONSISTENT_BITMAPS: u64 = 1;

/// Types of header extensions.
const BACKING_FORMAT: u32 = 0xe279_2aca;
const BITMAPS: u32 = 0x2385_2875;

/// A table in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    pub offset: u64,
    /// Entries of 8 bytes.
    pub entries: u64,
}

/// The backing file that an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backing {
    pub name: String,
    /// `None`: the format has to be detected.
    pub format: Option<String>,
}

/// The directory of persistent bitmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitmaps {
    pub count: u32,
    pub offset: u64,
    pub bytes: u64,
}

/// A checked header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub cluster_bits: u32,
    /// Size of the disk in bytes.
    pub size: u64,
    pub l1: Table,
    pub refcounts: Table,
    /// A refcount has 2 to the power of this many bits.
    pub refcount_order: u32,
    pub snapshots: u32,
    pub snapshots_offset: u64,
    pub backing: Option<Backing>,
    /// `None` also if the bitmaps are inconsistent already.
    pub bitmaps: Option<Bitmaps>,
    /// The autoclear feature bits.
    pub autoclear: u64,
    /// Length of the file in bytes.
    pub file_len: u64,
}

impl Header {
    /// Reads and checks the header of a file of `file_len` bytes.
    ///
    /// # Errors
    /// [`Fault`] if the file is not a qcow2 image that can be used.
    pub fn read(file: &File, file_len: u64) -> Result<Self, Fault> {
        let mut start = [0; 104];
        let available = usize::try_from(file_len.min(V3_HEADER)).unwrap_or(0);
        file.read_exact_at(&mut start[..available], 0).map_err(|error| unreadable(&error))?;
        let (word, long) = (|at| u32_at(&start, at), |at| u64_at(&start, at));
        if !start.starts_with(b"QFI\xfb") {
            return Err(Fault { what: "is not a qcow2 image".into(), remedy: "State its format, or convert it." });
        }
        let version = word(4);
        if !matches!(version, 2 | 3) {
            return Err(Fault::unsupported(format_args!("of version {version}: expected 2 or 3")));
        }
        let cluster_bits = word(20);
        if !(9..=21).contains(&cluster_bits) {
            return Err(Fault::corrupt(format_args!("clusters of 2^{cluster_bits} bytes: expected 2^9 to 2^21")));
        }
        let cluster = 1_u64 << cluster_bits;
        let (header_len, refcount_order, autoclear) =
            if version == 2 { (V2_HEADER, 4, 0) } else { (long_header(&start, cluster)?, word(96), long(88)) };
        if file_len < header_len {
            return Err(Fault::corrupt(format_args!("the file of {file_len} bytes is shorter than the header")));
        }
        refuse_encryption(word(32))?;
        if version == 3 {
            refuse_features(long(72))?;
            refuse_compression(file, header_len)?;
        }
        if refcount_order > 6 {
            return Err(Fault::corrupt(format_args!("refcounts of 2^{refcount_order} bits: expected at most 2^6")));
        }
        let mut header = Self {
            cluster_bits,
            size: long(24),
            l1: Table { offset: long(40), entries: word(36).into() },
            refcounts: Table { offset: long(48), entries: u64::from(word(56)) << (cluster_bits - 3) },
            refcount_order,
            snapshots: word(60),
            snapshots_offset: long(64),
            backing: None,
            bitmaps: None,
            autoclear,
            file_len,
        };
        header.check_tables()?;
        let name_offset = long(8);
        let name = if name_offset == 0 { None } else { Some(header.backing_name(file, name_offset, word(16))?) };
        let end = if name_offset == 0 { cluster } else { name_offset };
        let format = header.read_extensions(file, header_len, end)?;
        header.backing = name.map(|name| Backing { name, format });
        Ok(header)
    }

    /// Returns the bytes of a cluster.
    pub const fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Returns the entries of an L1 table that the size of the disk needs.
    pub fn l1_needed(&self) -> u64 {
        // An L1 entry covers an L2 table of clusters: 2 to the power of (2 * cluster_bits - 3) bytes.
        self.size.div_ceil(1 << (2 * self.cluster_bits - 3))
    }

    fn check_tables(&self) -> Result<(), Fault> {
        let needed = self.l1_needed();
        if needed > MOST_L1_BYTES / 8 || i64::try_from(self.size).is_err() {
            let (size, cluster) = (self.size, self.cluster());
            return Err(Fault::corrupt(format_args!(
                "the virtual size {size} is larger than clusters of {cluster} bytes allow"
            )));
        }
        if self.l1.entries < needed {
            let (entries, size) = (self.l1.entries, self.size);
            return Err(Fault::corrupt(format_args!(
                "the L1 table has {entries} entries: the virtual size {size} needs {needed}"
            )));
        }
        self.check_table("the L1 table", self.l1, MOST_L1_BYTES)?;
        if self.refcounts.entries == 0 {
            return Err(Fault::corrupt("it has no refcount table"));
        }
        self.check_table("the refcount table", self.refcounts, MOST_REFCOUNT_TABLE_BYTES)?;
        if self.snapshots > MOST_SNAPSHOTS {
            let count = self.snapshots;
            return Err(Fault::corrupt(format_args!("{count} snapshots: expected at most {MOST_SNAPSHOTS}")));
        }
        let table = Table { offset: self.snapshots_offset, entries: u64::from(self.snapshots) };
        self.check_table("the snapshot table", table, MOST_L1_BYTES)
    }

    /// Checks the place and the size of a table.
    pub fn check_table(&self, name: &str, table: Table, most_bytes: u64) -> Result<(), Fault> {
        let Table { offset, entries } = table;
        if entries == 0 {
            return Ok(());
        }
        if entries > most_bytes / 8 {
            let most = most_bytes / 8;
            return Err(Fault::corrupt(format_args!("{name} has {entries} entries: expected at most {most}")));
        }
        if !offset.is_multiple_of(self.cluster()) {
            let cluster = self.cluster();
            return Err(Fault::corrupt(format_args!(
                "{name} is at {offset:#x}: expected a multiple of the cluster size {cluster}"
            )));
        }
        if offset.checked_add(entries * 8).is_none_or(|end| end > self.file_len) {
            return Err(Fault::corrupt(format_args!("{name} at {offset:#x} lies outside the file")));
        }
        if offset == 0 {
            return Err(Fault::corrupt(format_args!("{name} overlaps the header")));
        }
        Ok(())
    }

    fn backing_name(&self, file: &File, offset: u64, len: u32) -> Result<String, Fault> {
        if len > LONGEST_NAME {
            return Err(Fault::corrupt(format_args!(
                "the backing file's name has {len} bytes: expected at most {LONGEST_NAME}"
            )));
        }
        if offset.checked_add(len.into()).is_none_or(|end| end > self.cluster().min(self.file_len)) {
            return Err(Fault::corrupt("the backing file's name lies outside the first cluster"));
        }
        let mut name = vec![0; len as usize];
        file.read_exact_at(&mut name, offset).map_err(|error| unreadable(&error))?;
        String::from_utf8(name).map_err(|_| Fault::corrupt("the backing file's name is not UTF-8"))
    }

    /// Reads the header extensions between `at` and `end`. Returns the format of the backing file.
    fn read_extensions(&mut self, file: &File, mut at: u64, end: u64) -> Result<Option<String>, Fault> {
        let outside = || Fault::corrupt("a header extension lies outside the first cluster");
        let mut format = None;
        // An image that ends behind its header has no extensions.
        let end = end.min(self.file_len);
        while at + 8 <= end {
            let mut head = [0; 8];
            file.read_exact_at(&mut head, at).map_err(|error| unreadable(&error))?;
            let (kind, len) = (u32_at(&head, 0), u64::from(u32_at(&head, 4)));
            at += 8;
            if kind == 0 {
                break;
            }
            if at + len > end {
                return Err(outside());
            }
            let mut data = vec![0; usize::try_from(len).map_err(|_| outside())?];
            file.read_exact_at(&mut data, at).map_err(|error| unreadable(&error))?;
            match kind {
                BACKING_FORMAT => format = Some(String::from_utf8_lossy(&data).into_owned()),
                // Other programs may have reused the clusters of inconsistent bitmaps.
                BITMAPS if self.autoclear & CONSISTENT_BITMAPS == 0 => {}
                BITMAPS if data.len() == 24 => {
                    self.bitmaps =
                        Some(Bitmaps { count: u32_at(&data, 0), bytes: u64_at(&data, 8), offset: u64_at(&data, 16) });
                }
                BITMAPS => return Err(Fault::corrupt("the bitmaps extension has an invalid length")),
                _ => {}
            }
            at += len.next_multiple_of(8);
        }
        Ok(format)
    }
}

/// Returns the length of a version 3 header.
fn long_header(start: &[u8], cluster: u64) -> Result<u64, Fault> {
    let len = u64::from(u32_at(start, 100));
    if len < V3_HEADER || len > cluster || !len.is_multiple_of(8) {
        return Err(Fault::corrupt(format_args!(
            "a header of {len} bytes: expected a multiple of 8 from {V3_HEADER} to the cluster size {cluster}"
        )));
    }
    Ok(len)
}

fn refuse_encryption(method: u32) -> Result<(), Fault> {
    let method = match method {
        0 => return Ok(()),
        1 => "AES".to_owned(),
        2 => "LUKS".to_owned(),
        other => format!("method {other}"),
    };
    Err(Fault {
        what: format!("is an encrypted qcow2 image ({method})"),
        remedy: "Decrypt a copy with 'qemu-img convert' and its --object secret, or let the guest encrypt its disk.",
    })
}

/// Refuses every incompatible feature.
fn refuse_features(bits: u64) -> Result<(), Fault> {
    let name = match bits.trailing_zeros() {
        64 => return Ok(()),
        0 => {
            let what = "the dirty bit is set: its last user did not close it, and its refcounts may be wrong";
            return Err(Fault::corrupt(what));
        }
        1 => return Err(Fault::corrupt("the corrupt bit is set: its last user found errors in its tables")),
        2 => "with an external data file, which is not supported".to_owned(),
        3 => "with another compression than deflate, which is not supported".to_owned(),
        4 => "with extended L2 entries, which are not supported".to_owned(),
        bit => format!("with the unknown incompatible feature {bit}"),
    };
    Err(Fault::unsupported(name))
}

/// Refuses a compression type without the feature bit that announces it.
fn refuse_compression(file: &File, header_len: u64) -> Result<(), Fault> {
    let mut kind = [0];
    if header_len > V3_HEADER {
        file.read_exact_at(&mut kind, V3_HEADER).map_err(|error| unreadable(&error))?;
    }
    match kind {
        [0] => Ok(()),
        [kind] => Err(Fault::corrupt(format_args!("compression type {kind} without its feature bit"))),
    }
}

fn unreadable(error: &io::Error) -> Fault {
    Fault::unreadable("its header", error)
}

/// Reads a big-endian number; 0 outside of `bytes`.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

/// Reads a big-endian number; 0 outside of `bytes`.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |chunk| u64::from_be_bytes(*chunk))
}
