//! Guest memory. It is mapped here, so that a slot never refers to memory that moves or is freed elsewhere.

use crate::errno::Result;
use kvm_accel_kvm::Mapping;
use kvm_accel_kvm::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

/// Every mapping that may be guest memory, by its first address. The entry of a dropped mapping stays until the next
/// mapping is created.
static MAPPINGS: Mutex<BTreeMap<usize, Weak<Mapping>>> = Mutex::new(BTreeMap::new());

/// Maps `size` bytes of zeros, which use no memory until they are touched.
///
/// # Errors
/// Mapping the memory fails.
pub fn allocate(size: usize) -> Result<Arc<Mapping>> {
    let mapping = Arc::new(Mapping::anonymous(size)?);
    let mut mappings = lock(&MAPPINGS);
    mappings.retain(|_, mapping| mapping.strong_count() > 0);
    mappings.insert(mapping.base().addr(), Arc::downgrade(&mapping));
    Ok(mapping)
}

/// Returns the mapping that contains the `len` bytes at address `start`. Returns `None` if they are not guest memory.
pub fn containing(start: usize, len: usize) -> Option<Arc<Mapping>> {
    let mappings = lock(&MAPPINGS);
    let (base, mapping) = mappings.range(..=start).next_back()?;
    let mapping = mapping.upgrade()?;
    let end = (start - base).checked_add(len)?;
    (end <= mapping.len()).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_only_what_was_allocated_here_is_guest_memory() {
        let mapping = allocate(3 << 12).unwrap();
        let start = mapping.base().addr();
        let found = |offset, len| containing(start + offset, len).is_some_and(|found| Arc::ptr_eq(&found, &mapping));
        assert!(found(0, 3 << 12));
        assert!(found(1 << 12, 2 << 12));
        assert!(!found(1 << 12, 3 << 12) && !found(0, usize::MAX));
        let other = [0_u8; 16];
        assert!(containing(other.as_ptr().addr(), 16).is_none());
        assert!(containing(0, 16).is_none());
    }
}
