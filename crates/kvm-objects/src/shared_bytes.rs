//! Bytes that a guest or another thread may change at any time.

use std::marker::PhantomData;
use vm_memory::VolatileSlice;

/// Bytes of a caller that may be guest memory. They are only copied, and no Rust reference to them ever exists.
#[derive(Clone, Copy, Debug)]
pub struct SharedBytes<'a> {
    start: *mut u8,
    len: usize,
    _owner: PhantomData<&'a ()>,
}

impl<'a> SharedBytes<'a> {
    /// No bytes.
    pub const EMPTY: Self = Self { start: std::ptr::dangling_mut(), len: 0, _owner: PhantomData };

    /// Wraps `len` bytes at `start`.
    ///
    /// # Safety
    /// The bytes must be readable and writable while the value or a copy of it exists. No Rust reference to them may be used meanwhile; other
    /// threads and guests may write them.
    pub const unsafe fn new(start: *mut u8, len: usize) -> Self {
        Self { start, len, _owner: PhantomData }
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub fn address(&self) -> usize {
        self.start.addr()
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slice(&self) -> VolatileSlice<'a> {
        // SAFETY: the caller of `new` promised that the bytes are accessible.
        unsafe { VolatileSlice::new(self.start, self.len) }
    }

    /// Copies the bytes to `to`, as many as fit.
    pub fn copy_to(&self, to: &mut [u8]) {
        self.slice().copy_to(to);
    }

    /// Replaces the bytes by `from`, as many as fit.
    pub fn copy_from(&self, from: &[u8]) {
        self.slice().copy_from(from);
    }

    /// Returns a copy of the bytes as words in the host's byte order. Omits a partial word at the end.
    #[must_use]
    pub fn to_words(&self) -> Vec<u64> {
        let mut bytes = vec![0; self.len];
        self.copy_to(&mut bytes);
        bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect()
    }
}

impl<'a> From<&'a mut [u8]> for SharedBytes<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self { start: bytes.as_mut_ptr(), len: bytes.len(), _owner: PhantomData }
    }
}

impl<'a, const N: usize> From<&'a mut [u8; N]> for SharedBytes<'a> {
    fn from(bytes: &'a mut [u8; N]) -> Self {
        Self::from(&mut bytes[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_bytes_are_copied_as_many_as_fit() {
        let mut bytes: Vec<u8> = (0..20).collect();
        let shared = SharedBytes::from(&mut bytes[..]);
        let mut few = [0; 3];
        shared.copy_to(&mut few);
        assert_eq!(few, [0, 1, 2]);
        let mut many = [0xff; 22];
        shared.copy_to(&mut many);
        assert_eq!(many[18..], [18, 19, 0xff, 0xff]);
        assert_eq!(shared.to_words(), [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        shared.copy_from(&[9; 30]);
        assert_eq!(bytes, [9; 20]);
        assert!(SharedBytes::EMPTY.is_empty());
        SharedBytes::EMPTY.copy_from(&few);
        assert_eq!(SharedBytes::EMPTY.to_words(), Vec::<u64>::new());
    }
}
