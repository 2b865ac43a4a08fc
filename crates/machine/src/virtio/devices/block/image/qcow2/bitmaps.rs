//! The names of the persistent bitmaps of a qcow2 image, for a warning.

use super::header::{Bitmaps, u32_at};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The most bytes of the directory that are read, and the most names that are returned.
const MOST_BYTES: u64 = 64 << 10;
const MOST_NAMES: usize = 16;

/// Bytes of a directory entry without its name and its extra data.
const ENTRY: usize = 24;

/// Returns the names in the directory, as far as they can be read.
pub fn names(file: &File, bitmaps: Bitmaps) -> Vec<String> {
    let mut directory = vec![0; usize::try_from(bitmaps.bytes.min(MOST_BYTES)).unwrap_or(0)];
    if file.read_exact_at(&mut directory, bitmaps.offset).is_err() {
        return Vec::new();
    }
    let mut rest = &directory[..];
    let mut names = Vec::new();
    while names.len() < MOST_NAMES.min(usize::try_from(bitmaps.count).unwrap_or(MOST_NAMES)) {
        let name_len = usize::try_from(u32_at(rest, 16) & 0xffff).unwrap_or(0);
        let extra = usize::try_from(u32_at(rest, 20)).unwrap_or(usize::MAX);
        let start = ENTRY.saturating_add(extra);
        let Some(name) = rest.get(start..start.saturating_add(name_len)) else { break };
        names.push(String::from_utf8_lossy(name).into_owned());
        rest = rest.get((start + name_len).next_multiple_of(8)..).unwrap_or_default();
    }
    names
}
