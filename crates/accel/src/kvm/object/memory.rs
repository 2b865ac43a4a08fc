//! Guest memory: mapped here, so that nothing that moves or is freed elsewhere ever becomes a slot.

use super::{Mapping, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Every mapping that may be guest memory, by its first address. A mapping that is gone stays until the next one is made.
static MAPPINGS: Mutex<BTreeMap<usize, Weak<Mapping>>> = Mutex::new(BTreeMap::new());

/// Maps `size` bytes of zeros, which take no memory until they are touched.
///
/// # Errors
/// This process cannot map that much.
pub fn allocate(size: usize) -> Result<Arc<Mapping>> {
    let mapping = Arc::new(Mapping::anonymous(size)?);
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|_, mapping| mapping.strong_count() > 0);
    mappings.insert(mapping.base().addr(), Arc::downgrade(&mapping));
    Ok(mapping)
}

/// The mapping in which `bytes` lie; nothing when they are no guest memory.
pub fn containing(bytes: &[u8]) -> Option<Arc<Mapping>> {
    let start = bytes.as_ptr().addr();
    let mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let (base, mapping) = mappings.range(..=start).next_back()?;
    let mapping = mapping.upgrade()?;
    let end = (start - base).checked_add(bytes.len())?;
    (end <= mapping.len()).then_some(mapping)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(mapping: &Mapping, offset: usize, len: usize) -> &[u8] {
        // SAFETY: inside the mapping where the test needs it to be, and never read.
        unsafe { std::slice::from_raw_parts(mapping.base().add(offset), len) }
    }

    #[test]
    fn test_only_what_was_allocated_here_is_guest_memory() {
        let mapping = allocate(3 << 12).unwrap();
        let found = |bytes| containing(bytes).is_some_and(|found| Arc::ptr_eq(&found, &mapping));
        assert!(found(bytes(&mapping, 0, 3 << 12)));
        assert!(found(bytes(&mapping, 1 << 12, 2 << 12)));
        assert!(containing(&[0; 16]).is_none());
        assert!(containing(Box::leak(vec![0; 1 << 20].into_boxed_slice())).is_none());
    }
}
