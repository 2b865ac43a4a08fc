//! A cache of the most recent values that take long to read or compute, by the key on which they depend.

use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of cached values. Further keys evict the oldest value, so memory stays bounded.
const KINDS: usize = 16;

/// Values by key, the newest last.
#[derive(Debug)]
pub struct Recent<K, V>(VecDeque<(K, Arc<V>)>);

impl<K, V> Recent<K, V> {
    /// Creates an empty cache.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Returns the value whose key satisfies `is`, or caches the key and value that `make` returns.
    ///
    /// # Errors
    /// The error of `make`. Nothing is cached then.
    pub fn find_or_keep<E>(
        &mut self,
        is: impl Fn(&K) -> bool,
        make: impl FnOnce() -> Result<(K, V), E>,
    ) -> Result<Arc<V>, E> {
        match self.find(is) {
            Some(value) => Ok(value),
            None => make().map(|(key, value)| self.keep(key, value)),
        }
    }

    /// Returns the value whose key satisfies `is`.
    fn find(&self, is: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        self.0.iter().find(|(key, _)| is(key)).map(|(_, value)| Arc::clone(value))
    }

    /// Caches a value. Evicts the oldest one if the cache is full.
    fn keep(&mut self, key: K, value: V) -> Arc<V> {
        if self.0.len() == KINDS {
            self.0.pop_front();
        }
        let value = Arc::new(value);
        self.0.push_back((key, Arc::clone(&value)));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_values_are_found_until_many_others_came() {
        let mut recent = Recent::new();
        let first = recent.keep(0, "zero");
        for key in 1..KINDS {
            recent.keep(key, "other");
            assert!(Arc::ptr_eq(&recent.find(|&known| known == 0).unwrap(), &first));
        }
        recent.keep(KINDS, "other");
        assert!(recent.find(|&known| known == 0).is_none());
        assert_eq!(recent.find(|&known| known == 1).as_deref(), Some(&"other"));
        assert_eq!(Arc::strong_count(&first), 1, "the cache holds no reference to an evicted value");
    }
}
