//! The checksum of MP tables and ACPI tables.

/// Sets the byte at `at` so that all bytes sum to 0.
pub fn set_checksum(bytes: &mut [u8], at: usize) {
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = bytes.get_mut(at) {
        *byte = byte.wrapping_sub(sum);
    }
}
