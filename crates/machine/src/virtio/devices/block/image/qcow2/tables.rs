//! Checks all tables of a qcow2 image before a guest may write it.
//!
//! The library trusts the tables: it writes where an L2 entry points, and allocates clusters whose refcount is 0. A wrong entry would let a
//! guest overwrite the tables, and with them choose any place in the file. QEMU compares each write with the places of the tables. Here
//! each place is compared once, when the image is opened: the image is locked, so only the library changes the tables from then on, and
//! its changes keep them consistent. The check costs one read of the L2 tables and refcount blocks, 128 MiB for 1 TiB of data in clusters
//! of 64 KiB.

use super::census::{Census, Content};
use super::fault::Fault;
use super::header::{Header, Table, u32_at, u64_at};
use std::fmt::Arguments;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most bytes of tables that are read.
const MOST_TABLE_BYTES: u64 = 2 << 30;

/// The most clusters of a file: 16 TiB in clusters of 64 KiB.
const MOST_CLUSTERS: u64 = 1 << 28;

/// QEMU's limit of the snapshot table.
const MOST_SNAPSHOT_BYTES: u64 = 64 << 20;

/// The offset in an entry of an L1 or L2 table.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The reserved bits of an L1 entry, of an L2 entry, and of a refcount table entry.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
const REFCOUNT_RESERVED: u64 = 0x1ff;
/// The entry states that its cluster has a refcount of 1, so that writes change it in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// Checks that no cluster has two conflicting uses, and that the refcounts count all uses.
///
/// An accepted file grows by at most twice [`most_clusters`]: once for the disk, and once for clusters that its refcounts already claim.
///
/// # Errors
/// [`Fault`] for the first error.
pub fn check(file: &File, header: &Header) -> Result<(), Fault> {
    let clusters = header.file_len.div_ceil(header.cluster());
    if clusters > MOST_CLUSTERS {
        return Err(Fault::unsupported(format_args!("of {clusters} clusters: expected at most {MOST_CLUSTERS}")));
    }
    let census = Census::new(header.cluster_bits, usize::try_from(clusters).unwrap_or(0));
    let mut check = Check { file, header, census, left: MOST_TABLE_BYTES };
    check.census.claim(format_args!("the file"), Content::Header, 0, 1)?;
    check.census.claim(format_args!("the header"), Content::L1, header.l1.offset, header.l1.entries * 8)?;
    let Table { offset, entries } = header.refcounts;
    check.census.claim(format_args!("the header"), Content::RefcountTable, offset, entries * 8)?;
    let blocks = check.refcount_blocks()?;
    if let Some(bitmaps) = header.bitmaps.filter(|bitmaps| bitmaps.bytes > 0) {
        check.census.claim(format_args!("the bitmaps extension"), Content::Bitmaps, bitmaps.offset, bitmaps.bytes)?;
    }
    let mut tables = check.l1("the L1 table", header.l1, true)?;
    for (number, table) in (1..).zip(check.snapshots()?) {
        let name = format!("the L1 table of snapshot {number}");
        header.check_table(&name, table, 32 << 20)?;
        check.census.claim(format_args!("the snapshot table"), Content::L1, table.offset, table.entries * 8)?;
        tables.extend(check.l1(&name, table, false)?);
    }
    for table in tables {
        check.l2(table)?;
    }
    check.refcounts(&blocks)
}

/// Returns the most clusters that an image of this size needs, tables included.
pub fn most_clusters(header: &Header) -> u64 {
    let data = header.size.div_ceil(header.cluster());
    let used = data + data.div_ceil(header.cluster() / 8) + (header.l1.entries * 8).div_ceil(header.cluster());
    // Refcount blocks count themselves, too.
    let blocks = (used << header.refcount_order).div_ceil(8 * header.cluster());
    let table = (blocks * 8).div_ceil(header.cluster());
    used + 2 * (blocks + table) + 8
}

struct L2 {
    offset: u64,
    /// The guest's writes may go to its clusters in place.
    active: bool,
    /// The first byte of the disk that it maps.
    first: u64,
}

struct Check<'a> {
    file: &'a File,
    header: &'a Header,
    census: Census,
    /// Bytes of tables that may still be read.
    left: u64,
}

impl Check<'_> {
    /// Claims the refcount blocks, and returns their offsets.
    fn refcount_blocks(&mut self) -> Result<Vec<u64>, Fault> {
        let Table { offset, entries } = self.header.refcounts;
        let table = self.read("its refcount table", offset, entries * 8)?;
        let entries: Vec<_> = longs(&table).collect();
        let blocks: Vec<_> = entries.iter().copied().take_while(|entry| *entry != 0).collect();
        for (number, entry) in blocks.iter().enumerate() {
            let by = format_args!("entry {number} of the refcount table");
            self.check_entry(by, *entry, REFCOUNT_RESERVED, !REFCOUNT_RESERVED)?;
            self.census.claim(by, Content::RefcountBlock, *entry, 1)?;
        }
        // The library searches free clusters in ascending order. Its search in front of a missing block would not end.
        if entries.iter().skip(blocks.len()).any(|entry| *entry != 0) {
            return Err(Fault::unsupported("whose refcount table has gaps, which is not supported"));
        }
        Ok(blocks)
    }

    /// Returns the L1 tables of the snapshots.
    fn snapshots(&mut self) -> Result<Vec<Table>, Fault> {
        let start = self.header.snapshots_offset;
        let mut at = start;
        let mut tables = Vec::new();
        for _ in 0..self.header.snapshots {
            let head = self.read("its snapshot table", at, 40)?;
            tables.push(Table { offset: u64_at(&head, 0), entries: u32_at(&head, 8).into() });
            let names = u64::from(u32_at(&head, 12) >> 16) + u64::from(u32_at(&head, 12) & 0xffff);
            at += (40 + u64::from(u32_at(&head, 36)) + names).next_multiple_of(8);
            if at - start > MOST_SNAPSHOT_BYTES {
                return Err(Fault::corrupt(format_args!("a snapshot table of more than {MOST_SNAPSHOT_BYTES} bytes")));
            }
        }
        if at > start {
            self.census.claim(format_args!("the header"), Content::Snapshots, start, at - start)?;
        }
        Ok(tables)
    }

    /// Claims the L2 tables of an L1 table. Returns those that no other L1 table had.
    fn l1(&mut self, name: &str, table: Table, active: bool) -> Result<Vec<L2>, Fault> {
        let bytes = self.read(name, table.offset, table.entries * 8)?;
        let mut tables = Vec::new();
        for (number, entry) in (0..).zip(longs(&bytes)).filter(|(_, entry)| *entry != 0) {
            let by = format_args!("entry {number} of {name}");
            self.check_entry(by, entry, L1_RESERVED, OFFSET)?;
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            let active = active && entry & COPIED != 0;
            if self.census.claim_l2(by, offset)? {
                tables.push(L2 { offset, active, first: number << (2 * self.header.cluster_bits - 3) });
            }
            if active {
                self.census.note_exclusive(offset);
            }
        }
        Ok(tables)
    }

    /// Counts the references of an L2 table to data.
    fn l2(&mut self, L2 { offset, active, first }: L2) -> Result<(), Fault> {
        let cluster = self.header.cluster();
        let times = self.census.references(offset >> self.header.cluster_bits);
        let bytes = self.read("an L2 table", offset, cluster)?;
        for (number, entry) in (0..).zip(longs(&bytes)).filter(|(_, entry)| *entry != 0) {
            let place = first + number * cluster;
            let by = format_args!("the L2 entry of the disk's byte {place:#x}");
            if entry & COMPRESSED != 0 {
                let (offset, len) = compressed(entry, self.header.cluster_bits);
                self.census.refer(by, offset, len, times)?;
                continue;
            }
            self.check_entry(by, entry, L2_RESERVED, OFFSET)?;
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            self.census.refer(by, offset, 1, times)?;
            if active && entry & COPIED != 0 {
                self.census.note_exclusive(offset);
            }
        }
        Ok(())
    }

    /// Compares the refcounts in `blocks` with the references that were counted.
    fn refcounts(&mut self, blocks: &[u64]) -> Result<(), Fault> {
        let order = self.header.refcount_order;
        let per_block = (self.header.cluster() * 8) >> order;
        let covered = per_block * blocks.len() as u64;
        let mut behind = 0;
        for (block, offset) in (0..).zip(blocks) {
            let bytes = self.read("a refcount block", *offset, self.header.cluster())?;
            for number in 0..per_block {
                let index = block * per_block + number;
                let count = refcount(&bytes, number, order);
                if index >= self.census.len() {
                    behind += u64::from(count > 0);
                } else {
                    self.compare(index, count)?;
                }
            }
        }
        for index in covered..self.census.len() {
            self.compare(index, 0)?;
        }
        let most = most_clusters(self.header);
        if behind > most {
            return Err(Fault::corrupt(format_args!(
                "its refcounts claim {behind} clusters behind the end of the file: the whole disk needs {most}"
            )));
        }
        Ok(())
    }

    fn compare(&self, index: u64, count: u64) -> Result<(), Fault> {
        let references = self.census.references(index);
        let offset = index << self.header.cluster_bits;
        if count < u64::from(references) {
            return Err(Fault::corrupt(format_args!(
                "the refcount of the cluster at {offset:#x} is {count}, and {references} table entries refer to it"
            )));
        }
        if self.census.is_shared_by_mistake(index) {
            return Err(Fault::corrupt(format_args!(
                "an entry marks the cluster at {offset:#x} as its own, and {references} table entries refer to it"
            )));
        }
        Ok(())
    }

    fn check_entry(&self, by: Arguments<'_>, entry: u64, reserved: u64, offset: u64) -> Result<(), Fault> {
        if entry & reserved != 0 {
            return Err(Fault::corrupt(format_args!("{by} is {entry:#x}, with reserved bits set")));
        }
        if !(entry & offset).is_multiple_of(self.header.cluster()) {
            let (place, cluster) = (entry & offset, self.header.cluster());
            return Err(Fault::corrupt(format_args!(
                "{by} refers to {place:#x}: expected a multiple of the cluster size {cluster}"
            )));
        }
        Ok(())
    }

    /// Reads a table. Bytes behind the end of the file are 0.
    fn read(&mut self, what: &str, offset: u64, len: u64) -> Result<Vec<u8>, Fault> {
        let left = self.left.checked_sub(len);
        self.left = left.ok_or_else(|| {
            Fault::unsupported(format_args!(
                "with more than {MOST_TABLE_BYTES} bytes of tables, which is not supported"
            ))
        })?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let present = self.header.file_len.saturating_sub(offset).min(len);
        let present = bytes.get_mut(..usize::try_from(present).unwrap_or(0)).unwrap_or_default();
        self.file.read_exact_at(present, offset).map_err(|error| Fault::unreadable(what, &error))?;
        Ok(bytes)
    }
}

/// Returns the place and the length of the compressed data of an L2 entry.
fn compressed(entry: u64, cluster_bits: u32) -> (u64, u64) {
    let offset_bits = 62 - (cluster_bits - 8);
    let descriptor = entry & (COMPRESSED - 1);
    let offset = descriptor & ((1 << offset_bits) - 1);
    (offset, ((descriptor >> offset_bits) + 1) * 512 - offset % 512)
}

/// Returns a refcount of a refcount block.
fn refcount(block: &[u8], number: u64, order: u32) -> u64 {
    let bit = number << order;
    let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    let byte = |at: usize| block.get(at).copied().map_or(0, u64::from);
    match order {
        0..=2 => byte(at) >> (bit % 8) & ((1 << (1 << order)) - 1),
        _ => (0..1 << (order - 3)).fold(0, |count, more| count << 8 | byte(at + more)),
    }
}

fn longs(table: &[u8]) -> impl Iterator<Item = u64> {
    table.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry))
}
