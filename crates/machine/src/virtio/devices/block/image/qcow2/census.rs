//! Counts the references to each cluster of a qcow2 image.

use super::fault::Fault;
use std::fmt::Arguments;

/// What a cluster of the file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// Data, or an unused cluster. It refers to no other cluster.
    Data,
    Header,
    L1,
    L2,
    RefcountTable,
    RefcountBlock,
    Snapshots,
    Bitmaps,
}

impl Content {
    /// Returns the name for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Header => "the header",
            Self::L1 => "an L1 table",
            Self::L2 => "an L2 table",
            Self::RefcountTable => "the refcount table",
            Self::RefcountBlock => "a refcount block",
            Self::Snapshots => "the snapshot table",
            Self::Bitmaps => "the bitmap directory",
        }
    }
}

/// A cluster of the file.
#[derive(Clone, Copy)]
struct Cluster {
    content: Content,
    /// A table entry states that it is the only reference, so that the guest's writes go to this cluster in place.
    exclusive: bool,
}

/// The contents of each cluster, and the number of references to it.
pub struct Census {
    cluster_bits: u32,
    /// The kernel allocates the pages of these lists when they are first written.
    references: Vec<u16>,
    clusters: Vec<u8>,
}

/// The bit of `Census::clusters` that stands for [`Cluster::exclusive`].
const EXCLUSIVE: u8 = 0x80;

const CONTENTS: [Content; 8] = [
    Content::Data,
    Content::Header,
    Content::L1,
    Content::L2,
    Content::RefcountTable,
    Content::RefcountBlock,
    Content::Snapshots,
    Content::Bitmaps,
];

impl Census {
    /// Creates the census of a file with this many clusters.
    pub fn new(cluster_bits: u32, clusters: usize) -> Self {
        Self { cluster_bits, references: vec![0; clusters], clusters: vec![0; clusters] }
    }

    /// Returns the number of references to a cluster. 65535 means 65535 or more.
    pub fn references(&self, index: u64) -> u16 {
        usize::try_from(index).ok().and_then(|index| self.references.get(index)).copied().unwrap_or(0)
    }

    /// Returns the number of clusters of the file.
    pub const fn len(&self) -> u64 {
        self.references.len() as u64
    }

    /// Counts a reference from `by` to the `bytes` bytes of metadata at `offset`. Other contents must not be there.
    pub fn claim(&mut self, by: Arguments<'_>, content: Content, offset: u64, bytes: u64) -> Result<(), Fault> {
        for index in self.range(by, offset, bytes)? {
            let cluster = self.get(index);
            if cluster.content != Content::Data || self.references(index) != 0 {
                return Err(self.overlap(by, index));
            }
            self.put(index, Cluster { content, ..cluster });
            self.count(index, 1);
        }
        Ok(())
    }

    /// Counts a reference from `by` to the L2 table at `offset`, which several L1 tables may share. Returns true for the first one.
    pub fn claim_l2(&mut self, by: Arguments<'_>, offset: u64) -> Result<bool, Fault> {
        let [index] = self.range(by, offset, 1)?.collect::<Vec<_>>()[..] else { return Ok(false) };
        if self.get(index).content == Content::L2 {
            self.count(index, 1);
            return Ok(false);
        }
        self.claim(by, Content::L2, offset, 1).map(|()| true)
    }

    /// Counts `times` references from `by` to the `bytes` bytes of data at `offset`.
    pub fn refer(&mut self, by: Arguments<'_>, offset: u64, bytes: u64, times: u16) -> Result<(), Fault> {
        for index in self.range(by, offset, bytes)? {
            if self.get(index).content != Content::Data {
                return Err(self.overlap(by, index));
            }
            self.count(index, times);
        }
        Ok(())
    }

    /// Records that an entry states to be the only reference to the cluster at `offset`.
    pub fn note_exclusive(&mut self, offset: u64) {
        let index = offset >> self.cluster_bits;
        self.put(index, Cluster { exclusive: true, ..self.get(index) });
    }

    /// Returns true if an entry states to be the only reference to a cluster that has several.
    pub fn is_shared_by_mistake(&self, index: u64) -> bool {
        self.get(index).exclusive && self.references(index) > 1
    }

    /// Returns the indices of the clusters of a range, which must lie within the file.
    fn range(&self, by: Arguments<'_>, offset: u64, bytes: u64) -> Result<std::ops::Range<u64>, Fault> {
        let end = offset.checked_add(bytes).map(|end| end.div_ceil(1 << self.cluster_bits));
        match end {
            Some(end) if end <= self.len() => Ok(offset >> self.cluster_bits..end),
            _ => Err(Fault::corrupt(format_args!("{by} refers to {offset:#x}, behind the end of the file"))),
        }
    }

    fn overlap(&self, by: Arguments<'_>, index: u64) -> Fault {
        let content = self.get(index).content.name();
        let offset = index << self.cluster_bits;
        Fault::corrupt(format_args!("{by} refers to {offset:#x}, which contains {content}"))
    }

    fn get(&self, index: u64) -> Cluster {
        let byte = usize::try_from(index).ok().and_then(|index| self.clusters.get(index)).copied().unwrap_or(0);
        let content = CONTENTS.get(usize::from(byte & !EXCLUSIVE)).copied().unwrap_or(Content::Data);
        Cluster { content, exclusive: byte & EXCLUSIVE != 0 }
    }

    fn put(&mut self, index: u64, Cluster { content, exclusive }: Cluster) {
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.clusters.get_mut(index)) {
            *place = content as u8 | if exclusive { EXCLUSIVE } else { 0 };
        }
    }

    fn count(&mut self, index: u64, times: u16) {
        if let Some(place) = usize::try_from(index).ok().and_then(|index| self.references.get_mut(index)) {
            *place = place.saturating_add(times);
        }
    }
}
