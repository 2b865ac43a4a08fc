//! Computes the `KVM_SET_USER_MEMORY_REGION` calls that turn the current memory slots into the requested layout. Pure.

use super::region::Extent;
use super::table::SlotTable;
use kvm_accel_kvm::fd::{Slot, SlotCall};
use std::ops::Range;

/// The plan needs more slots than the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Returns all deletes, then all adds, each in the requested order. A slot that is deleted and added again unchanged
/// needs no call. If only its flags differ, the slot is deleted first, because the kernel does not change
/// KVM_MEM_READONLY of an existing slot.
pub fn plan(table: &SlotTable, deletes: &[Range<u64>], adds: &[Extent]) -> Result<Vec<SlotCall>, Full> {
    let mut deleted: Vec<Slot> = Vec::new();
    for range in deletes {
        let extent =
            Extent { start: range.start, size: range.end.saturating_sub(range.start), host: 0, read_only: false };
        // A region that was never added (for example because it was empty) has no slots to find.
        let found = pieces(table, extent).map_while(|piece| table.find(piece.start, piece.size));
        deleted.extend(found.filter(|slot| !deleted.contains(slot)).copied().collect::<Vec<_>>());
    }
    let mut added: Vec<Slot> = adds.iter().flat_map(|&extent| pieces(table, extent)).map(|e| new(table, e)).collect();
    added.retain(|new| match deleted.iter().position(|old| Slot { id: 0, ..*old } == *new) {
        Some(same) => {
            deleted.remove(same);
            false
        }
        None => true,
    });

    let mut without = table.clone();
    let mut calls: Vec<SlotCall> = deleted.into_iter().map(SlotCall::Delete).collect();
    calls.iter().for_each(|call| without.apply(call));
    let mut free = without.free();
    for slot in added {
        calls.push(SlotCall::Set(Slot { id: free.next().ok_or(Full)?, ..slot }));
    }
    Ok(calls)
}

/// Returns the calls that switch dirty logging of all slots that a guest can write.
pub fn plan_log_dirty(table: &SlotTable, log_dirty: bool) -> Vec<SlotCall> {
    let change = |slot: &&Slot| !slot.read_only && slot.log_dirty != log_dirty;
    table.iter().filter(change).map(|slot| SlotCall::Set(Slot { log_dirty, ..*slot })).collect()
}

fn pieces(table: &SlotTable, extent: Extent) -> impl Iterator<Item = Extent> {
    let max = table.limits.slot_size;
    extent.aligned().into_iter().flat_map(move |extent| extent.split(max))
}

/// Returns a slot that has no number yet.
const fn new(table: &SlotTable, Extent { start, size, host, read_only }: Extent) -> Slot {
    let read_only = read_only && table.limits.read_only;
    Slot { id: 0, start, size, host, read_only, log_dirty: table.log_dirty && !read_only }
}

#[cfg(test)]
mod tests {
    use super::super::table::Limits;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const PAGE: u64 = kvm_accel_kvm::fd::PAGE;

    fn table(slots: u32, pages: u64) -> SlotTable {
        SlotTable::new(Limits { slots, slot_size: pages * PAGE, read_only: true })
    }

    const fn extent(page: u64, pages: u64, read_only: bool) -> Extent {
        Extent { start: page * PAGE, size: pages * PAGE, host: 0x7f00_0000_0000 + page * PAGE, read_only }
    }

    const fn range(page: u64, pages: u64) -> Range<u64> {
        page * PAGE..(page + pages) * PAGE
    }

    fn commit(table: &mut SlotTable, deletes: &[Range<u64>], adds: &[Extent]) -> Vec<SlotCall> {
        let calls = plan(table, deletes, adds).unwrap();
        calls.iter().for_each(|call| table.apply(call));
        calls
    }

    #[test]
    fn test_read_only_toggle_is_a_delete_and_an_add_in_the_same_slot() {
        let mut table = table(8, 100);
        commit(&mut table, &[], &[extent(0, 4, false), extent(8, 4, false)]);
        let calls = commit(&mut table, &[range(0, 4)], &[extent(0, 4, true)]);
        assert!(
            matches!(calls[..], [SlotCall::Delete(old), SlotCall::Set(new)] if old.id == 0 && new.id == 0 && new.read_only)
        );
    }

    #[test]
    fn test_no_difference_is_no_call() {
        let mut table = table(8, 3);
        commit(&mut table, &[], &[extent(0, 7, false)]);
        assert_eq!(commit(&mut table, &[range(0, 7)], &[extent(0, 7, false)]), []);
        assert_eq!(
            commit(&mut table, &[range(32, 7), range(0, 6)], &[]).len(),
            2,
            "the pieces up to the first that is none"
        );
        assert_eq!(plan_log_dirty(&table, false), []);
    }

    #[test]
    fn test_read_only_is_plain_where_the_kernel_has_none() {
        let mut table = SlotTable::new(Limits::new(0, 0));
        commit(&mut table, &[], &[extent(0, 1, true)]);
        assert!(table.iter().all(|slot| !slot.read_only));
    }

    #[test]
    fn test_logging_is_in_place_and_passes_over_what_no_guest_writes() {
        let mut table = table(8, 100);
        commit(&mut table, &[], &[extent(0, 4, false), extent(8, 4, true)]);
        let calls = plan_log_dirty(&table, true);
        assert!(matches!(calls[..], [SlotCall::Set(slot)] if slot.id == 0 && slot.log_dirty));
        table.log_dirty = true;
        commit(&mut table, &[], &[extent(16, 4, false)]);
        assert!(table.get(2).unwrap().log_dirty);
    }

    #[test]
    fn test_the_kernels_number_of_slots_is_the_limit() {
        let mut table = table(20, 1);
        commit(&mut table, &[], &[extent(0, 20, false)]);
        assert_eq!(plan(&table, &[], &[extent(32, 1, false)]), Err(Full));
        assert_eq!(commit(&mut table, &[range(0, 20)], &[extent(32, 20, false)]).len(), 40);
    }

    /// Sixteen positions of 16 pages, each with or without a region. Transactions toggle some of them.
    #[derive(Clone, Debug)]
    struct Toggle {
        place: u64,
        offset: u64,
        pages: u64,
        read_only: bool,
    }

    fn toggles() -> impl Strategy<Value = Vec<Vec<Toggle>>> {
        let toggle = (0u64..16, 0u64..4, 1u64..12, any::<bool>());
        let toggle = toggle.prop_map(|(place, offset, pages, read_only)| Toggle { place, offset, pages, read_only });
        prop::collection::vec(prop::collection::vec(toggle, 0..8), 0..12)
    }

    proptest! {
        #[test]
        fn test_any_transactions_cover_what_is_asked_for(transactions in toggles(), pages in 1u64..6) {
            let mut table = table(32764, pages);
            let mut wanted: BTreeMap<u64, Extent> = BTreeMap::new();
            for transaction in transactions {
                let (mut deletes, mut adds) = (Vec::new(), BTreeMap::new());
                for Toggle { place, offset, pages, read_only } in transaction {
                    if let Some(old) = wanted.remove(&place) {
                        deletes.push(old.start..old.start + old.size);
                    }
                    adds.insert(place, extent(place * 16 + offset, pages, read_only));
                }
                let list: Vec<_> = adds.values().copied().collect();
                let calls = plan(&table, &deletes, &list).unwrap();
                let firsts = calls.iter().take_while(|call| matches!(call, SlotCall::Delete(_))).count();
                prop_assert!(calls[firsts..].iter().all(|call| matches!(call, SlotCall::Set(_))), "deletes come first");
                for call in &calls {
                    if let SlotCall::Set(new) = call {
                        // The kernel would fail with EEXIST on an overlap.
                        prop_assert!(table.iter().all(|old| old.start >= new.range().end || new.start >= old.range().end));
                        prop_assert!(table.get(new.id).is_none(), "a slot is not moved in place");
                    }
                    table.apply(call);
                }
                wanted.extend(adds);
                let covered: BTreeMap<u64, (u64, bool)> = table
                    .iter()
                    .flat_map(|slot| (0..slot.pages()).map(|n| (slot.start + n * PAGE, (slot.host + n * PAGE, slot.read_only))))
                    .collect();
                let asked: BTreeMap<u64, (u64, bool)> = wanted
                    .values()
                    .flat_map(|e| (0..e.size / PAGE).map(|n| (e.start + n * PAGE, (e.host + n * PAGE, e.read_only))))
                    .collect();
                prop_assert_eq!(covered, asked);
            }
        }
    }
}
