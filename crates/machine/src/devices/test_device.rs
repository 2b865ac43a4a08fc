//! QEMU's `pc-testdev`, which kvm-unit-tests use: latches, memory that is not RAM, a port that flushes a page from the
//! page tables, interrupt lines.

use crate::bus::BusDevice;
use kvm_accel::Request;
use kvm_accel::lock;
use std::sync::Mutex;

/// The first port of the latch, for accesses of 1, 2 and 4 bytes.
pub const TEST_LATCH_BASE: u16 = 0xe0;
/// The port that flushes a page. The guest writes the page's 32-bit address.
pub const TEST_FLUSH_BASE: u16 = 0xe4;
/// The first port of a second view of the same latch.
pub const TEST_BYTE_LATCH_BASE: u16 = 0xe8;
/// The number of ports of each latch and of the flush.
pub const TEST_LATCH_PORTS: u32 = 4;
/// The first port of the interrupt lines. A write to the Nth port sets line N, 0 to low and anything else to high.
pub const TEST_LINES_BASE: u16 = 0x2000;
/// The number of lines.
pub const TEST_LINES_PORTS: u32 = 24;
/// The address of memory that is not RAM: each access causes an exit.
pub const TEST_MEMORY_BASE: u64 = 0xff00_0000;
/// The size of that memory in bytes.
pub const TEST_MEMORY_SIZE: u32 = 64 << 10;

/// Bytes that read back as written: 4 for the latch, more for the memory.
#[derive(Debug)]
pub struct TestLatch(Mutex<Box<[u8]>>);

impl TestLatch {
    /// Creates `size` bytes of zero.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Mutex::new(vec![0; size].into()))
    }

    fn with(&self, offset: u64, len: usize, access: impl FnOnce(&mut [u8])) {
        let mut bytes = lock(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        // The bus keeps accesses within the claim.
        if let Some(bytes) = bytes.get_mut(from..).and_then(|bytes| bytes.get_mut(..len)) {
            access(bytes);
        }
    }
}

impl BusDevice for TestLatch {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.with(offset, data.len(), |bytes| data.copy_from_slice(bytes));
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        self.with(offset, data.len(), |bytes| bytes.copy_from_slice(data));
        None
    }
}

/// Removes a guest page from the page tables that KVM keeps for the guest.
pub struct TestFlush<F>(pub F);

impl<F: Fn(u64) + Send + Sync> BusDevice for TestFlush<F> {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let mut address = [0; 8];
        let len = data.len().min(address.len());
        address[..len].copy_from_slice(&data[..len]);
        if offset == 0 {
            (self.0)(u64::from_le_bytes(address));
        }
        None
    }
}

/// Sets interrupt lines: calls the function with the line and its level. A write of 2 or 4 bytes sets the line of its
/// first port only, as in QEMU.
pub struct TestLines<F>(pub F);

impl<F: Fn(u8, bool) + Send + Sync> BusDevice for TestLines<F> {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        if let Ok(line) = u8::try_from(offset) {
            (self.0)(line, data.iter().any(|byte| *byte != 0));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::mpsc;

    #[test]
    fn test_a_latch_holds_what_was_written_in_any_width() {
        let latch = TestLatch::new(4);
        latch.write(0, &[1, 2, 3, 4]);
        latch.write(1, &[0xaa, 0xbb]);
        latch.write(3, &[0xcc]);
        let mut word = [0; 4];
        latch.read(0, &mut word);
        assert_eq!(word, [1, 0xaa, 0xbb, 0xcc]);
        let mut half = [0; 2];
        latch.read(2, &mut half);
        assert_eq!(half, [0xbb, 0xcc]);
        latch.write(2, &[9; 4]);
        latch.read(0, &mut word);
        assert_eq!(word, [1, 0xaa, 0xbb, 0xcc]);
    }

    #[test]
    fn test_a_flush_is_of_the_address_written() {
        let (flushed, addresses) = mpsc::channel();
        let flush = TestFlush(move |address| flushed.send(address).unwrap_or_default());
        assert_eq!(flush.write(0, &0x1234_5678u32.to_le_bytes()), None);
        assert_eq!(flush.write(0, &[0x10, 0]), None);
        assert_eq!(flush.write(2, &[0x10, 0]), None);
        assert_eq!(addresses.try_iter().collect::<Vec<_>>(), [0x1234_5678, 0x10]);
    }

    #[test]
    fn test_a_write_of_any_width_sets_one_line() {
        thread_local!(static SET: RefCell<Vec<(u8, bool)>> = const { RefCell::new(Vec::new()) });
        let lines = TestLines(|line, level| SET.with_borrow_mut(|set| set.push((line, level))));
        assert_eq!(lines.write(5, &[1]), None);
        assert_eq!(lines.write(23, &[0]), None);
        assert_eq!(lines.write(7, &[0, 1]), None);
        assert_eq!(lines.write(20, &[1, 0, 0, 0]), None);
        assert_eq!(lines.write(20, &[0; 4]), None);
        assert_eq!(SET.take(), [(5, true), (23, false), (7, true), (20, true), (20, false)]);
    }
}
