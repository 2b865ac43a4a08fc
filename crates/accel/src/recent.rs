//! The last few values of something that takes long to read or to make, by what they depend on.

use std::collections::VecDeque;
use std::sync::Arc;

/// Machines of so many kinds share values; for more kinds they are read or made again, and memory stays bounded.
const KINDS: usize = 16;

/// Values by key, the newest last.
#[derive(Debug)]
pub struct Recent<K, V>(VecDeque<(K, Arc<V>)>);

impl<K, V> Recent<K, V> {
    /// Nothing known yet.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// The value whose key satisfies `is`, or the one that `make` makes with its key.
    ///
    /// # Errors
    /// What `make` failed with; nothing is kept then.
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

    /// The value whose key satisfies `is`.
    fn find(&self, is: impl Fn(&K) -> bool) -> Option<Arc<V>> {
        self.0.iter().find(|(key, _)| is(key)).map(|(_, value)| Arc::clone(value))
    }

    /// Keeps a value, in place of the oldest one when there are many.
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
        assert_eq!(Arc::strong_count(&first), 1, "whoever holds it keeps it alive, and nobody else");
    }
}
