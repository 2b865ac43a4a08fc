//! A collection that assigns each value a small index and reuses free ones.

/// Values by index.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Option<T>>,
    /// The indices without a value.
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Adds a value and returns its index.
    pub fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(number) => {
                self.places[number] = Some(value);
                number
            }
            None => {
                self.places.push(Some(value));
                self.places.len() - 1
            }
        }
    }

    /// Removes and returns a value.
    pub fn remove(&mut self, number: usize) -> Option<T> {
        let value = self.places.get_mut(number)?.take()?;
        self.free.push(number);
        Some(value)
    }

    /// Drops a value in place.
    pub fn clear(&mut self, number: usize) {
        if let Some(place @ Some(_)) = self.places.get_mut(number) {
            *place = None;
            self.free.push(number);
        }
    }

    pub fn get(&self, number: usize) -> Option<&T> {
        self.places.get(number)?.as_ref()
    }

    pub fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.places.get_mut(number)?.as_mut()
    }

    /// Returns all entries in order, including free ones as `None`.
    pub fn iter(&self) -> impl Iterator<Item = Option<&T>> {
        self.places.iter().map(Option::as_ref)
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_values_are_taken_out_once() {
        let mut slab = Slab::default();
        assert_eq!((slab.insert('a'), slab.insert('b')), (0, 1));
        assert_eq!((slab.remove(0), slab.remove(0), slab.len()), (Some('a'), None, 1));
        assert_eq!((slab.insert('c'), slab.get(0), slab.get(2)), (0, Some(&'c'), None));
        assert_eq!(slab.get_mut(1), Some(&mut 'b'));
        slab.clear(1);
        slab.clear(1);
        assert_eq!(slab.get(1), None);
        assert_eq!((slab.insert('d'), slab.insert('e')), (1, 2));
    }
}
