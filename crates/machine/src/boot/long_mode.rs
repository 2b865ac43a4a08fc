//! The tables for a start in 64-bit mode: page tables that identity-map everything below 4 GiB, and a GDT.

/// The size of the page tables: one top-level table, one table of 512 GiB, and a directory for each GiB.
pub(super) const PAGE_TABLES_SIZE: usize = (2 + GIBIBYTES) * TABLE_SIZE;

const TABLE_SIZE: usize = 4096;
const GIBIBYTES: usize = 4;
const LARGE_PAGE_SIZE: usize = 2 << 20;

const PRESENT: usize = 1;
const WRITABLE: usize = 1 << 1;
const LARGE: usize = 1 << 7;

/// The GDT of Linux's boot protocol: the code segment is 0x10, the data segment 0x18. Both cover the whole address
/// space.
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
pub(super) const GDT_SIZE: usize = size_of_val(&GDT);
/// The GDT's limit: the offset of its last byte.
pub(super) const GDT_LIMIT: u16 = 31;

/// Returns the page tables to place at `address`, a multiple of 4 KiB. The top level comes first.
pub(super) fn page_tables(address: usize) -> Vec<u8> {
    let table = |index: usize| (address + index * TABLE_SIZE) | PRESENT | WRITABLE;
    let mut tables = vec![0; PAGE_TABLES_SIZE / 8];
    tables[0] = table(1);
    for (gibibyte, entry) in tables[512..][..GIBIBYTES].iter_mut().enumerate() {
        *entry = table(2 + gibibyte);
    }
    for (page, entry) in tables[1024..].iter_mut().enumerate() {
        *entry = (page * LARGE_PAGE_SIZE) | PRESENT | WRITABLE | LARGE;
    }
    tables.into_iter().flat_map(usize::to_le_bytes).collect()
}

/// Returns the GDT's bytes.
pub(super) fn gdt() -> Vec<u8> {
    GDT.into_iter().flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the tables like a processor.
    fn translate(tables: &[u8], base: usize, linear: usize) -> usize {
        let entry = |table: usize, index: usize| {
            let at = (table & !0xfff) - base + index % 512 * 8;
            let entry = usize::from_le_bytes(tables[at..at + 8].try_into().unwrap());
            assert_eq!(entry & 3, 3, "{linear:#x}");
            entry
        };
        let directory = entry(entry(base, linear >> 39), linear >> 30);
        let page = entry(directory, linear >> 21);
        assert_eq!(page & LARGE, LARGE);
        (page & !0x1f_ffff) + linear % LARGE_PAGE_SIZE
    }

    #[test]
    fn test_page_tables_map_4_gib_to_itself() {
        let base = 0x1_0000;
        let tables = page_tables(base);
        assert_eq!(tables.len(), PAGE_TABLES_SIZE);
        for linear in [0, 0x1_2345, 0x1f_ffff, 0x20_0000, 0x3fff_ffff, 0x4000_0000, 0xc000_0001, 0xffff_ffff] {
            assert_eq!(translate(&tables, base, linear), linear);
        }
    }

    #[test]
    fn test_gdt_limit_is_its_last_byte() {
        assert_eq!((gdt().len(), usize::from(GDT_LIMIT) + 1), (GDT_SIZE, GDT_SIZE));
    }
}
